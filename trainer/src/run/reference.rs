//! The reference of all configuration keys, made from the types that read them, so that it cannot
//! go stale.
//!
//! Names, types and defaults are what serde reads and writes. Meanings are the doc comments of the
//! fields, and ranges their `#[schemars(range(…))]`. `sparsecode config` prints the reference;
//! `docs/configuration.md` is [`markdown`].

use std::fmt::{self, Write as _};

use schemars::generate::SchemaSettings;
use serde_json::Value;

use super::config::{Config, Settings};

/// One key of `config.toml`.
#[derive(Clone, Debug, PartialEq)]
pub struct Key {
    /// The key with its table, as `--set` takes it: `inference.lambda`.
    pub name: String,
    /// The `data.source` whose tables have the key; `None` for a key of every configuration.
    pub source: Option<String>,
    /// What is written there: `number`, `integer`, `text`, `list of text`, `true or false`, or the
    /// values to choose from.
    pub kind: String,
    /// What holds where nobody sets the key.
    pub default: DefaultValue,
    /// The numbers that are allowed; `None` if the type alone says it.
    pub range: Option<Range>,
    /// What the key does.
    pub meaning: String,
    /// For a choice: each value, and what it does.
    pub values: Vec<(String, String)>,
    /// The value of a key that is not written, if it has one: what equals the type's own default is
    /// left out.
    unwritten: Option<String>,
}

/// What holds where nobody sets a key.
#[derive(Clone, Debug, PartialEq)]
pub enum DefaultValue {
    /// This value, as TOML.
    Value(String),
    /// The preset's own value.
    Preset,
    /// The key may be left out; its meaning says what happens then.
    Unset,
}

/// The numbers that a key takes. Displayed as `≥ 1`, `> 0` or `1 to 65535`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Range {
    /// The smallest number, or, if `above`, the number that it must exceed.
    pub low: Option<f64>,
    /// Whether `low` itself is refused.
    pub above: bool,
    /// The largest number.
    pub high: Option<f64>,
}

impl Range {
    fn of(property: &Value) -> Option<Self> {
        let bound = |word: &str| property[word].as_f64();
        let above = bound("exclusiveMinimum");
        let range = Self {
            low: above.or_else(|| bound("minimum")),
            above: above.is_some(),
            high: bound("maximum"),
        };
        (range.low.is_some() || range.high.is_some()).then_some(range)
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.low, self.high) {
            (Some(low), None) if self.above => write!(f, "> {low}"),
            (Some(low), None) => write!(f, "≥ {low}"),
            (Some(low), Some(high)) if self.above => write!(f, "> {low}, ≤ {high}"),
            (Some(low), Some(high)) => write!(f, "{low} to {high}"),
            (None, Some(high)) => write!(f, "≤ {high}"),
            (None, None) => Ok(()),
        }
    }
}

/// The keys of one table, or of one `data.source`.
struct Table {
    /// `model`; empty for the top of the file.
    name: String,
    source: Option<String>,
    meaning: String,
    keys: Vec<Key>,
}

/// The JSON Schema of `config.toml`, for editors and programs.
pub fn schema<F: Settings>() -> schemars::Schema {
    SchemaSettings::draft2020_12()
        .into_generator()
        .into_root_schema_for::<Config<F>>()
}

/// All keys: those of every configuration in the order of `config.toml`, then those of each data
/// source.
///
/// ```
/// let keys = sparsecode_trainer::run::reference::keys::<sparsecode_trainer::lista::Lista>();
/// let key = keys.iter().find(|key| key.name == "batch_size").unwrap();
/// assert_eq!((key.kind.as_str(), key.range.unwrap().to_string()), ("integer", "≥ 2".into()));
/// ```
pub fn keys<F: Settings>() -> Vec<Key> {
    tables::<F>()
        .into_iter()
        .flat_map(|table| table.keys)
        .collect()
}

fn tables<F: Settings>() -> Vec<Table> {
    // As it is written, because only that says which keys are always there; with every type in its
    // place.
    let mut settings = SchemaSettings::draft2020_12().for_serialize();
    settings.inline_subschemas = true;
    let schema = settings
        .into_generator()
        .into_root_schema_for::<Config<F>>();
    let mut tables = Vec::new();
    collect::<F>(&mut tables, "", None, schema.as_value());
    tables
}

/// Adds a table and those inside it.
fn collect<F: Settings>(tables: &mut Vec<Table>, name: &str, source: Option<&str>, schema: &Value) {
    let place = tables.len();
    tables.push(Table {
        name: name.to_owned(),
        source: source.map(str::to_owned),
        meaning: description(schema),
        keys: Vec::new(),
    });
    for field in fields(schema) {
        let property = &schema["properties"][field];
        let full = match name {
            "" => field.to_owned(),
            table => format!("{table}.{field}"),
        };
        if property["properties"].is_object() {
            collect::<F>(tables, &full, None, property);
        } else if let Some(tag) = tag(property) {
            let key = tag_key(&full, tag, property);
            tables.push(Table {
                name: full.clone(),
                source: None,
                meaning: description(property),
                keys: vec![key],
            });
            for branch in list(&property["oneOf"]) {
                let source = branch["properties"][tag]["const"].as_str();
                collect::<F>(tables, &full, source, branch);
            }
        } else if !(source.is_some() && property["const"].is_string()) {
            let key = key::<F>(full, source, property);
            tables[place].keys.push(key);
        }
    }
}

/// The fields of a table: those that are always written in the order of the source, then the
/// others.
fn fields(schema: &Value) -> Vec<&str> {
    let mut fields: Vec<&str> = list(&schema["required"])
        .iter()
        .filter_map(Value::as_str)
        .collect();
    let all = schema["properties"].as_object().into_iter().flatten();
    for (field, _) in all {
        if !fields.contains(&field.as_str()) {
            fields.push(field);
        }
    }
    fields
}

/// The field that chooses among tables, if a property is such a choice.
fn tag(property: &Value) -> Option<&str> {
    let branch = list(&property["oneOf"]).first()?;
    let (tag, _) = branch["properties"]
        .as_object()?
        .iter()
        .find(|(_, property)| property["const"].is_string())?;
    Some(tag)
}

fn tag_key(table: &str, tag: &str, property: &Value) -> Key {
    let values: Vec<_> = list(&property["oneOf"])
        .iter()
        .map(|branch| {
            let value = toml_text(&branch["properties"][tag]["const"]);
            (value, description(branch))
        })
        .collect();
    Key {
        name: format!("{table}.{tag}"),
        source: None,
        kind: choice(&values),
        default: DefaultValue::Preset,
        range: None,
        meaning: description(property),
        values,
        unwritten: None,
    }
}

fn key<F: Settings>(name: String, source: Option<&str>, property: &Value) -> Key {
    let values = values(property);
    let kind = match values.is_empty() {
        true => kind(property),
        false => choice(&values),
    };
    let unwritten = match &property["default"] {
        // What is false is not written; what is an Option may be left out.
        Value::Null if property["type"] == "boolean" => Some("false".to_owned()),
        Value::Null => None,
        // Without the digits that f32 does not have.
        value if property["format"] == "float" => {
            value.as_f64().map(|value| format!("{:?}", value as f32))
        }
        value => Some(toml_text(value)),
    };
    let default = match source {
        None => default_of_presets::<F>(&name, unwritten.as_deref()),
        Some(_) => unwritten
            .clone()
            .map_or(DefaultValue::Unset, DefaultValue::Value),
    };
    Key {
        source: source.map(str::to_owned),
        default,
        range: Range::of(property),
        meaning: description(property),
        unwritten,
        kind,
        values,
        name,
    }
}

/// The default of a key that presets set, or leave at its value when it is not written.
fn default_of_presets<F: Settings>(name: &str, unwritten: Option<&str>) -> DefaultValue {
    let mut found = preset_tables::<F>().into_iter().map(|(_, table)| {
        let written = lookup(&table, name).map(ToString::to_string);
        written.or_else(|| unwritten.map(str::to_owned))
    });
    let first = found.next().flatten();
    match found.all(|value| value == first) {
        false => DefaultValue::Preset,
        true => first.map_or(DefaultValue::Unset, DefaultValue::Value),
    }
}

fn preset_tables<F: Settings>() -> Vec<(String, toml::Table)> {
    F::presets()
        .into_iter()
        .filter_map(|name| {
            let table = F::preset(&name).ok()?.to_table();
            Some((name, table))
        })
        .collect()
}

fn lookup<'a>(table: &'a toml::Table, name: &str) -> Option<&'a toml::Value> {
    match name.split_once('.') {
        Some((outer, inner)) => lookup(table.get(outer)?.as_table()?, inner),
        None => table.get(name),
    }
}

/// What a property may be, without "nothing".
fn branches(property: &Value) -> Vec<&Value> {
    let any = ["anyOf", "oneOf"].map(|word| list(&property[word]));
    any.into_iter()
        .flatten()
        .filter(|branch| branch["type"] != "null")
        .collect()
}

/// The values of a choice, and what each does.
fn values(property: &Value) -> Vec<(String, String)> {
    let plain = list(&property["enum"]).iter().filter(|v| !v.is_null());
    let mut values: Vec<_> = plain.map(|v| (toml_text(v), String::new())).collect();
    for branch in branches(property) {
        match &branch["const"] {
            Value::Null => values.extend(self::values(branch)),
            value => values.push((toml_text(value), description(branch))),
        }
    }
    values
}

fn choice(values: &[(String, String)]) -> String {
    let names: Vec<&str> = values.iter().map(|(value, _)| value.as_str()).collect();
    names.join(" or ")
}

fn kind(property: &Value) -> String {
    let types = match &property["type"] {
        Value::Array(types) => types.clone(),
        single => vec![single.clone()],
    };
    let mut kinds: Vec<String> = types
        .iter()
        .filter_map(|name| match name.as_str()? {
            "integer" => Some("integer".into()),
            "number" => Some("number".into()),
            "string" => Some("text".into()),
            "boolean" => Some("true or false".into()),
            "array" => Some(format!("list of {}", kind(&property["items"]))),
            _ => None,
        })
        .collect();
    kinds.extend(branches(property).into_iter().map(kind));
    kinds.join(" or ")
}

/// A doc comment as running text.
fn description(schema: &Value) -> String {
    let text = schema["description"].as_str().unwrap_or_default();
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// A JSON value as TOML writes it.
fn toml_text(value: &Value) -> String {
    match value {
        Value::Number(number) => number.to_string(),
        value => toml::Value::try_from(value).map_or_else(|_| value.to_string(), |v| v.to_string()),
    }
}

/// A configuration as `config.toml`, with the meaning of each key above it; keys that are not set
/// are comments.
///
/// ```
/// use sparsecode_trainer::lista::Config;
/// use sparsecode_trainer::run::reference;
///
/// let config = Config::preset("ecg/vdl")?;
/// let text = reference::annotated(&config);
/// assert!(text.contains("\n# λ, "));
/// assert_eq!(toml::from_str::<Config>(&text).unwrap(), config);
/// # Ok::<(), sparsecode_trainer::run::ConfigError>(())
/// ```
pub fn annotated<F: Settings>(config: &Config<F>) -> String {
    let values = config.to_table();
    let mut text = String::new();
    let mut open = String::new();
    for table in tables::<F>() {
        if table
            .source
            .as_deref()
            .is_some_and(|source| source != config.data.source())
        {
            continue;
        }
        if table.name != open {
            let _ = writeln!(text, "\n[{}]", table.name);
            open.clone_from(&table.name);
        }
        for key in &table.keys {
            let choice = match key.values.is_empty() {
                true => String::new(),
                false => format!(" Values: {}.", key.kind),
            };
            comment(&mut text, &format!("{}{choice}", key.meaning));
            let field = key.name.rsplit('.').next().unwrap_or(&key.name);
            let written = lookup(&values, &key.name).map(ToString::to_string);
            let _ = match written.or_else(|| key.unwritten.clone()) {
                Some(value) => writeln!(text, "{field} = {value}"),
                None => writeln!(text, "# {field} ="),
            };
        }
    }
    text
}

fn comment(text: &mut String, words: &str) {
    for line in wrapped(words, 98) {
        let _ = writeln!(text, "# {line}");
    }
}

/// Words in lines of at most so many characters; a longer word has a line of its own.
fn wrapped(words: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in words.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

/// Keys for a terminal: a line with type, range and default, and the meaning below it.
pub fn text(keys: &[Key]) -> String {
    let mut text = String::new();
    for key in keys {
        let source = key.source.as_ref().map_or_else(String::new, |source| {
            format!("  (data.source = \"{source}\")")
        });
        let range = key
            .range
            .map_or_else(String::new, |range| format!(", {range}"));
        let default = match &key.default {
            DefaultValue::Value(value) => format!("; default {value}"),
            DefaultValue::Preset => "; the preset sets it".to_owned(),
            DefaultValue::Unset => "; may be left out".to_owned(),
        };
        let _ = writeln!(text, "{}{source}", key.name);
        let mut lines = wrapped(&format!("{}{range}{default}", key.kind), 96);
        lines.extend(wrapped(&key.meaning, 96));
        for (value, meaning) in key.values.iter().filter(|(_, meaning)| !meaning.is_empty()) {
            lines.extend(wrapped(&format!("{value}: {meaning}"), 96));
        }
        for line in lines {
            let _ = writeln!(text, "    {line}");
        }
    }
    text
}

/// All keys of a family and its data, and what its presets hold, as a page in Markdown.
pub fn markdown<F: Settings>() -> String {
    let mut page = String::new();
    for table in tables::<F>() {
        page += &section(&table);
    }
    page + &presets::<F>()
}

/// The keys that a family has beside those of every run, and what its presets hold, for a page that
/// has the others.
pub fn own_markdown<F: Settings>() -> String {
    let mut page = String::new();
    for table in tables::<F>() {
        if F::KEYS.contains(&table.name.as_str()) {
            page += &section(&table);
        }
    }
    page + &presets::<F>()
}

fn section(table: &Table) -> String {
    let title = match (&table.source, table.name.as_str()) {
        (Some(source), name) => format!("### `{name}.source = \"{source}\"`"),
        (None, "") => "## Top of the file".to_owned(),
        (None, name) => format!("## `[{name}]`"),
    };
    let mut text = format!("\n{title}\n\n{}\n\n", table.meaning);
    text += "| key | type | default | range | meaning |\n|---|---|---|---|---|\n";
    for key in &table.keys {
        text += &row(key);
    }
    text
}

fn presets<F: Settings>() -> String {
    let mut text = String::from(
        "\n## Presets\n\nWhat differs between presets. Names are DATA/MODEL, as `mnist/vdl`.\n",
    );
    for (data, matrix) in preset_matrices::<F>() {
        let _ = write!(text, "\n### {data}\n\n{matrix}");
    }
    text
}

fn row(key: &Key) -> String {
    let kind = match key.values.is_empty() {
        true => key.kind.clone(),
        false => {
            let values: Vec<_> = key.values.iter().map(|(v, _)| format!("`{v}`")).collect();
            values.join(", ")
        }
    };
    let default = match &key.default {
        DefaultValue::Value(value) => format!("`{value}`"),
        DefaultValue::Preset => "[preset's](#presets)".to_owned(),
        DefaultValue::Unset => "not set".to_owned(),
    };
    let mut meaning = key.meaning.clone();
    for (value, words) in key.values.iter().filter(|(_, words)| !words.is_empty()) {
        let _ = write!(meaning, "<br>`{value}`: {words}");
    }
    format!(
        "| `{}` | {kind} | {default} | {} | {} |\n",
        key.name,
        key.range
            .map_or_else(String::new, |range| range.to_string()),
        meaning.replace('|', "\\|")
    )
}

/// For each data set (those with the same values together), a table: a row a key that differs
/// between presets, a column a model.
fn preset_matrices<F: Settings>() -> Vec<(String, String)> {
    let presets = preset_tables::<F>();
    let differing: Vec<Key> = keys::<F>()
        .into_iter()
        .filter(|key| key.default == DefaultValue::Preset)
        .filter(|key| !["variant", "data.source"].contains(&key.name.as_str()))
        .collect();
    let mut data_sets: Vec<(&str, Vec<(&str, &toml::Table)>)> = Vec::new();
    for (name, table) in &presets {
        let (data, model) = name.split_once('/').unwrap_or((name, ""));
        match data_sets.last_mut() {
            Some((last, models)) if *last == data => models.push((model, table)),
            _ => data_sets.push((data, vec![(model, table)])),
        }
    }
    let mut matrices: Vec<(String, String)> = Vec::new();
    for (data, models) in data_sets {
        let mut matrix = String::from("| |");
        models
            .iter()
            .for_each(|(model, _)| matrix += &format!(" {model} |"));
        matrix += "\n|---|";
        models.iter().for_each(|_| matrix += "---:|");
        matrix += "\n";
        for key in &differing {
            matrix += &format!("| `{}` |", key.name);
            for (_, table) in &models {
                let value = lookup(table, &key.name).map(ToString::to_string);
                let value = value.or_else(|| key.unwritten.clone());
                matrix += &format!(" {} |", value.unwrap_or_default());
            }
            matrix += "\n";
        }
        match matrices.iter_mut().find(|(_, known)| *known == matrix) {
            Some((names, _)) => *names += &format!(", {data}"),
            None => matrices.push((data.to_owned(), matrix)),
        }
    }
    matrices
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::data::npy::write_npy_f32;
    use crate::denoising::Denoise;
    use crate::lista::{Lista, preset_names};
    use crate::variational::Variational;

    type Config = super::Config<Lista>;

    #[test]
    fn every_key_is_explained() {
        let others = [keys::<Denoise>(), keys::<Variational>()].concat();
        let keys = [keys::<Lista>(), others].concat();
        for name in [
            "batch_size",
            "inference.lambda",
            "data.source",
            "data.window",
        ] {
            assert!(keys.iter().any(|key| key.name == name), "{name}");
        }
        for key in &keys {
            let Key {
                name,
                kind,
                meaning,
                ..
            } = key;
            let texts = key.values.iter().map(|(_, words)| words).chain([meaning]);
            for words in texts {
                // Links of rustdoc lead nowhere on the page and in a terminal.
                let linked = words.contains("[`") || words.contains("](");
                assert!(words.ends_with('.') && !linked, "{name}: {words:?}");
            }
            assert!(!kind.is_empty(), "{name}: no type");
            // A key that is not an Option has a value; where serde leaves it out, an attribute
            // states it.
            let optional = key.default != DefaultValue::Unset
                || is_optional::<Lista>(name, key.source.as_deref())
                || is_optional::<Denoise>(name, key.source.as_deref())
                || is_optional::<Variational>(name, key.source.as_deref());
            assert!(optional, "{name}: add #[schemars(extend(\"default\" = …))]");
        }
    }

    fn is_optional<F: Settings>(name: &str, source: Option<&str>) -> bool {
        let mut settings = SchemaSettings::draft2020_12();
        settings.inline_subschemas = true;
        let schema = settings
            .into_generator()
            .into_root_schema_for::<super::Config<F>>();
        let mut place = schema.as_value();
        for part in name.split('.') {
            place = match source.filter(|_| place["properties"].is_null()) {
                None => &place["properties"][part],
                Some(source) => {
                    let branch = list(&place["oneOf"])
                        .iter()
                        .find(|branch| branch["properties"]["source"]["const"] == source);
                    &branch.unwrap()["properties"][part]
                }
            };
        }
        let null = serde_json::json!("null");
        list(&place["type"]).contains(&null)
            || list(&place["anyOf"])
                .iter()
                .any(|branch| branch["type"] == null)
    }

    /// What the table says is what happens: the first number outside is refused, with the key's
    /// name.
    #[test]
    fn ranges_are_enforced() {
        let folder = tempfile::tempdir().unwrap();
        let (signal, rows) = (folder.path().join("s.npy"), folder.path().join("r.npy"));
        let values: Vec<f32> = (0..1000).map(|t| (t * t % 17) as f32).collect();
        write_npy_f32(&signal, &[1000], &values).unwrap();
        write_npy_f32(&rows, &[100, 10], &values).unwrap();
        let mut tried = 0;
        for key in keys::<Lista>() {
            let Some(range) = key.range else { continue };
            let step = if key.kind == "integer" { 1.0 } else { 1e-3 };
            let low = range
                .low
                .map(|low| if range.above { low } else { low - step });
            let high = range.high.map(|high| high + step);
            for outside in [low, high].into_iter().flatten() {
                let source = key.source.as_deref().unwrap_or("ecg");
                let settings = [
                    format!("data.source={source}"),
                    format!("{}={outside}", key.name),
                ];
                let place = match source {
                    "signal" => &signal,
                    "npy" => &rows,
                    _ => folder.path(),
                };
                let config = Config::preset("ecg/vdl").unwrap();
                let error = match config.with_overrides(None, &settings) {
                    Err(error) => error.to_string(),
                    Ok(config) => config.data.load(Some(place), 1).unwrap_err().to_string(),
                };
                let field = key.name.rsplit('.').next().unwrap();
                // What no count can be, serde refuses for the whole data table.
                let is_told = error.contains(field) || error.contains("expected usize");
                assert!(is_told, "{}={outside}: {error}", key.name);
                tried += 1;
            }
        }
        assert!(tried > 30, "{tried}");
    }

    #[test]
    fn an_annotated_configuration_reads_back() {
        let sources: BTreeSet<String> = keys::<Lista>()
            .into_iter()
            .filter_map(|key| key.source)
            .collect();
        assert!(sources.len() > 5, "{sources:?}");
        let mut configs: Vec<Config> = preset_names()
            .iter()
            .map(|name| Config::preset(name).unwrap())
            .collect();
        let base = configs[0].clone();
        configs.extend(sources.into_iter().map(|source| {
            let setting = [format!("data.source={source}")];
            base.with_overrides(None, &setting).unwrap()
        }));
        for config in configs {
            let text = annotated(&config);
            assert_eq!(toml::from_str::<Config>(&text).unwrap(), config, "{text}");
            assert!(
                text.lines().all(|line| line.chars().count() <= 100),
                "{text}"
            );
        }
    }

    #[test]
    fn lines_are_filled_and_no_word_is_lost() {
        assert_eq!(
            wrapped("aa bb  ccc dddddd e", 5),
            ["aa bb", "ccc", "dddddd", "e"]
        );
        assert!(wrapped("", 5).is_empty());
    }
}
