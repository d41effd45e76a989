//! A grid file: presets, settings and the values to combine.

use std::collections::BTreeSet;
use std::path::Path;

use toml::{Table, Value};

use super::{Plan, SweepError, read_text};
use crate::run::{Config, ConfigError, Family, merge};

/// The noise levels at which denoising is measured unless the grid says otherwise: those of the
/// paper's Table 1.
pub const DEFAULT_NOISE: [f64; 2] = [1.0, 1.5];

/// Most runs of a grid; what lies beyond is a mistake.
const MOST_RUNS: usize = 1_000_000;

/// A grid file, read.
///
/// It has the keys of a run's `config.toml` and `preset`; a single value holds for all runs, and a
/// list is an axis: its values are combined with those of all other lists. A `[[grid]]` block lays
/// its keys, dotted or in tables, over what stands above all blocks; several blocks are planned one
/// after the other, for models that need values of their own. `noise` lists the noise levels (σ, in
/// preprocessed units) at which denoising is measured; it is not combined.
///
/// ```
/// use sparsecode_trainer::lista::Lista;
/// use sparsecode_trainer::sweep::Grid;
///
/// let plan = Grid::parse(
///     r#"
///     epochs = 20
///     seed = [1, 2, 3]
///     [[grid]]
///     preset = ["mnist/sdl", "mnist/do"]
///     "inference.lambda" = [0.001, 0.005]
///     [[grid]]
///     preset = "mnist/vdl"
///     "inference.lambda" = 0.02
///     "#,
///     "grid.toml",
/// )?
/// .plan::<Lista>()?;
/// assert_eq!(plan.entries().len(), 3 * (2 * 2 + 1));
/// // Seeds vary slowest: the first five runs are the whole grid.
/// assert!(plan.entries()[..5].iter().all(|entry| entry.config.seed == 1));
/// # Ok::<(), sparsecode_trainer::sweep::SweepError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Grid {
    file: String,
    noise: Vec<f64>,
    blocks: Vec<Block>,
}

/// One block: keys with their values, of which one is taken of each.
#[derive(Clone, Debug)]
struct Block {
    axes: Vec<Axis>,
}

#[derive(Clone, Debug)]
struct Axis {
    /// Dotted, as `inference.lambda`.
    key: String,
    values: Vec<Value>,
}

impl Grid {
    /// Reads a grid file.
    ///
    /// # Errors
    ///
    /// [`SweepError::Read`], or as [`Grid::parse`].
    pub fn read(path: &Path) -> Result<Self, SweepError> {
        Self::parse(&read_text(path)?, &path.display().to_string())
    }

    /// Reads the text of a grid; `file` names it in errors.
    ///
    /// # Errors
    ///
    /// [`SweepError::Grid`] names the key: TOML that does not parse, a key given twice, an empty
    /// list, a missing preset, noise that is no list of positive numbers. Values are checked by
    /// [`Grid::plan`].
    pub fn parse(text: &str, file: &str) -> Result<Self, SweepError> {
        let refuse = |place: &str, problem: &str, remedy: &str| SweepError::Grid {
            file: file.to_owned(),
            place: place.to_owned(),
            problem: problem.trim().replace('\n', " "),
            remedy: remedy.to_owned(),
        };
        let mut common: Table = text.parse().map_err(|error: toml::de::Error| {
            refuse("TOML", &error.to_string(), "see docs/sweeps.md for a grid")
        })?;
        let noise = match common.remove("noise") {
            None => DEFAULT_NOISE.to_vec(),
            Some(value) => noise_levels(&value).ok_or_else(|| {
                refuse(
                    "noise",
                    &format!("{value} is not a list of different positive numbers"),
                    "write, for example, noise = [1.0, 1.5], or [] for none",
                )
            })?,
        };
        let tables = match common.remove("grid") {
            None => vec![Table::new()],
            Some(Value::Table(table)) => vec![table],
            Some(Value::Array(tables)) => {
                let table = |value| match value {
                    Value::Table(table) => Some(table),
                    _ => None,
                };
                let tables: Option<Vec<Table>> = tables.into_iter().map(table).collect();
                tables.unwrap_or_default()
            }
            Some(_) => Vec::new(),
        };
        if tables.is_empty() {
            return Err(refuse(
                "grid",
                "not a table",
                "begin a block with [grid], or each of several with [[grid]]",
            ));
        }
        let several = tables.len() > 1;
        let mut blocks = Vec::new();
        for (number, table) in (1..).zip(tables) {
            let name = match several {
                true => format!("[[grid]] {number}"),
                false => "grid".to_owned(),
            };
            let place = |key: &str| match key {
                "" => name.clone(),
                _ => format!("{name}: {key}"),
            };
            // Nested tables and dotted keys mean the same; the block's replace the file's, lists
            // and all.
            let mut axes = flatten(&common).map_err(|key| {
                refuse(&key, "given twice", "write it once, dotted or in its table")
            })?;
            let own = flatten(&table).map_err(|key| {
                let remedy = "write it once, dotted or in its table";
                refuse(&place(&key), "given twice", remedy)
            })?;
            axes.retain(|axis| own.iter().all(|own| own.key != axis.key));
            axes.extend(own);
            axes.sort_by(|a, b| a.key.cmp(&b.key));
            for axis in &axes {
                if axis.key.split('.').next() == Some("noise") {
                    let remedy = "it holds for the whole sweep: write it above all blocks";
                    return Err(refuse(&place(&axis.key), "not in a block", remedy));
                }
                if axis.values.is_empty() {
                    let remedy = "list the values to combine, or leave the key out";
                    return Err(refuse(&place(&axis.key), "an empty list", remedy));
                }
                // Lists of lists are an axis of a key whose value is a list.
                let is_list = |value: &Value| {
                    let items = value.as_array();
                    items.is_some_and(|items| items.iter().all(is_single))
                };
                let values = &axis.values;
                let several = values.iter().find(|value| !is_single(value));
                if let Some(value) = several.filter(|_| !values.iter().all(is_list)) {
                    let problem = format!("{value} in a list");
                    let remedy = "a list holds single values (numbers, texts, true or false), or \
                                  lists of them where one value is a list";
                    return Err(refuse(&place(&axis.key), &problem, remedy));
                }
            }
            let preset = axes.iter().find(|axis| axis.key == "preset");
            let remedy =
                "write preset = \"DATA/MODEL\", for example \"mnist/vdl\", or a list of presets";
            match preset {
                None => return Err(refuse(&place(""), "no preset", remedy)),
                Some(axis) => {
                    if let Some(value) = axis.values.iter().find(|value| !value.is_str()) {
                        let problem = format!("{value} is not the name of a preset");
                        return Err(refuse(&place("preset"), &problem, remedy));
                    }
                }
            }
            blocks.push(Block { axes });
        }
        Ok(Self {
            file: file.to_owned(),
            noise,
            blocks,
        })
    }

    /// Resolves every combination. Equal configurations are one run.
    ///
    /// The order is that of the file's blocks, then of presets, then of the other keys in
    /// alphabetical order, the last varying fastest; but the place in the list of seeds varies
    /// slowest of all, so that what is done first is the whole grid, and further seeds sharpen it.
    ///
    /// # Errors
    ///
    /// [`SweepError::Combination`] names the key that is unknown, of the wrong type or out of
    /// range, with the combination.
    pub fn plan<F: Family>(&self) -> Result<Plan<F>, SweepError> {
        let runs = self.combinations();
        if runs > MOST_RUNS {
            return Err(SweepError::Grid {
                file: self.file.clone(),
                place: "grid".to_owned(),
                problem: format!("{runs} combinations"),
                remedy: format!("shorten the lists: at most {MOST_RUNS}"),
            });
        }
        let mut combinations: Vec<(usize, Vec<(&str, &Value)>)> = Vec::new();
        for block in &self.blocks {
            combinations.extend((0..block.len()).map(|number| block.combination(number)));
        }
        // Stable: within a seed's place the order stays.
        combinations.sort_by_key(|(seed, _)| *seed);
        let mut seen = BTreeSet::new();
        let mut configs: Vec<Config<F>> = Vec::new();
        for (_, settings) in combinations {
            let config: Config<F> =
                resolve(&settings).map_err(|reason| SweepError::Combination {
                    file: self.file.clone(),
                    settings: described(&settings),
                    reason,
                })?;
            if seen.insert(config.hash()) {
                configs.push(config);
            }
        }
        Ok(Plan::new(configs, &self.noise))
    }

    /// The presets that the blocks name, in order, each once.
    pub fn presets(&self) -> Vec<&str> {
        let axes = self.blocks.iter().flat_map(|block| &block.axes);
        let named = axes.filter(|axis| axis.key == "preset");
        let mut presets = Vec::new();
        for preset in named.flat_map(|axis| axis.values.iter().filter_map(Value::as_str)) {
            if !presets.contains(&preset) {
                presets.push(preset);
            }
        }
        presets
    }

    /// Runs that the lists make, duplicates included.
    pub fn combinations(&self) -> usize {
        self.blocks
            .iter()
            .map(Block::len)
            .fold(0, usize::saturating_add)
    }
}

impl Block {
    fn len(&self) -> usize {
        let lengths = self.axes.iter().map(|axis| axis.values.len());
        lengths.fold(1, usize::saturating_mul)
    }

    /// The combination of a number below [`Block::len`], with the place of its seed in the list.
    fn combination(&self, mut number: usize) -> (usize, Vec<(&str, &Value)>) {
        let mut seed = 0;
        let mut settings = Vec::new();
        // Digits of a number, the last axis first; the preset's is the leading one.
        let rank = |axis: &Axis| axis.key != "preset";
        let mut axes: Vec<&Axis> = self.axes.iter().collect();
        axes.sort_by_key(|axis| rank(axis));
        for axis in axes.into_iter().rev() {
            let digit = number % axis.values.len();
            number /= axis.values.len();
            if axis.key == "seed" {
                seed = digit;
            }
            settings.push((axis.key.as_str(), &axis.values[digit]));
        }
        settings.reverse();
        (seed, settings)
    }
}

fn resolve<F: Family>(settings: &[(&str, &Value)]) -> Result<Config<F>, ConfigError> {
    let mut preset = "";
    let mut table = Table::new();
    for (key, value) in settings {
        if *key == "preset" {
            preset = value.as_str().unwrap_or_default();
        } else {
            merge(&mut table, nested(key, (*value).clone()));
        }
    }
    let base = F::preset(preset)?;
    let resolved = base.with_table(table.clone())?;
    F::following(base, &resolved).with_table(table)
}

fn is_single(value: &Value) -> bool {
    !value.is_array() && !value.is_table()
}

fn nested(key: &str, value: Value) -> Table {
    let (head, value) = match key.split_once('.') {
        Some((head, rest)) => (head, Value::Table(nested(rest, value))),
        None => (key, value),
    };
    Table::from_iter([(head.to_owned(), value)])
}

fn described(settings: &[(&str, &Value)]) -> String {
    let parts: Vec<String> = settings
        .iter()
        .map(|(key, value)| format!("{key} = {value}"))
        .collect();
    parts.join(", ")
}

/// The values of a table under dotted keys, one value as a list of one; the key that is given
/// twice.
fn flatten(table: &Table) -> Result<Vec<Axis>, String> {
    fn walk(prefix: &str, table: &Table, axes: &mut Vec<Axis>) -> Result<(), String> {
        for (key, value) in table {
            let key = match prefix {
                "" => key.clone(),
                _ => format!("{prefix}.{key}"),
            };
            let values = match value {
                Value::Table(table) => {
                    walk(&key, table, axes)?;
                    continue;
                }
                Value::Array(values) => values.clone(),
                value => vec![value.clone()],
            };
            if axes.iter().any(|axis| axis.key == key) {
                return Err(key);
            }
            axes.push(Axis { key, values });
        }
        Ok(())
    }
    let mut axes = Vec::new();
    walk("", table, &mut axes)?;
    Ok(axes)
}

fn noise_levels(value: &Value) -> Option<Vec<f64>> {
    let levels: Option<Vec<f64>> = value
        .as_array()?
        .iter()
        .map(|level| {
            let level = level
                .as_float()
                .or(level.as_integer().map(|level| level as f64))?;
            (level.is_finite() && level > 0.0).then_some(level)
        })
        .collect();
    let levels = levels?;
    let repeated = (1..levels.len()).any(|i| levels[..i].contains(&levels[i]));
    (!repeated && levels.len() <= usize::from(u16::MAX)).then_some(levels)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lista::Lista;

    fn plan(text: &str) -> Plan<Lista> {
        Grid::parse(text, "grid.toml")
            .unwrap()
            .plan::<Lista>()
            .unwrap()
    }

    /// The message of a grid that must be refused, at reading or at planning.
    fn refused(text: &str) -> String {
        match Grid::parse(text, "grid.toml").and_then(|grid| grid.plan::<Lista>()) {
            Ok(plan) => panic!("{text}: {} runs", plan.entries().len()),
            Err(error) => {
                assert!(error.is_usage(), "{error}");
                error.to_string()
            }
        }
    }

    #[test]
    fn seeds_vary_slowest_then_blocks_presets_and_keys() {
        let plan = plan(
            r#"
            seed = [5, 4]
            [[grid]]
            preset = ["mnist/vdl", "mnist/sdl"]
            epochs = [1, 2]
            [[grid]]
            preset = "ecg/do"
            "inference.lambda" = [0.1, 0.01]
            "#,
        );
        let found: Vec<_> = plan
            .entries()
            .iter()
            .map(|entry| {
                let config = &entry.config;
                let lambda = config.family.inference.lambda;
                (config.seed, config.model_name(), config.epochs, lambda)
            })
            .collect();
        let of_seed = |seed| {
            [
                (seed, "vdl", 1, 0.02),
                (seed, "vdl", 2, 0.02),
                (seed, "sdl", 1, 0.005),
                (seed, "sdl", 2, 0.005),
                (seed, "do", 16, 0.1),
                (seed, "do", 16, 0.01),
            ]
        };
        assert_eq!(found, [of_seed(5), of_seed(4)].concat());
        assert!((0..).zip(plan.entries()).all(|(i, entry)| entry.index == i));
        assert_eq!(plan.entries()[0].noise, DEFAULT_NOISE);
    }

    #[test]
    fn a_configuration_is_what_train_resolves() {
        let entry =
            &plan("preset = \"patches/vdl-nl\"\ninference.lambda = 0.02").entries()[0].clone();
        let expected = Config::preset("patches/vdl-nl").unwrap().at_lambda(0.02);
        assert_eq!(entry.config, expected);
        assert_eq!(entry.config.family.inference.encoder_weight, 40.0);
        assert_eq!(entry.id, expected.hash());
        // What the file sets goes over what follows from λ.
        let set =
            plan("preset = \"patches/vdl-nl\"\ninference = { lambda = 0.02, encoder_weight = 7 }");
        assert_eq!(set.entries()[0].config.family.inference.encoder_weight, 7.0);
    }

    #[test]
    fn equal_configurations_are_one_run() {
        let text =
            "preset = \"ecg/sdl\"\nseed = [1, 2, 1]\n[grid]\n\"inference.lambda\" = [0.01, 1e-2]";
        let grid = Grid::parse(text, "grid.toml").unwrap();
        assert_eq!(grid.combinations(), 6);
        assert_eq!(grid.plan::<Lista>().unwrap().entries().len(), 2);
    }

    #[test]
    fn a_block_replaces_what_stands_above() {
        let plan =
            plan("preset = \"ecg/sdl\"\nepochs = [1, 2]\n[[grid]]\nepochs = 7\n[[grid]]\nseed = 3");
        let found = plan
            .entries()
            .iter()
            .map(|entry| (entry.config.epochs, entry.config.seed));
        assert_eq!(found.collect::<Vec<_>>(), [(7, 31), (1, 3), (2, 3)]);
    }

    #[test]
    fn a_list_of_lists_is_an_axis_of_lists() {
        use crate::variational::Variational;

        let text = "preset = [\"variational/laplacian\", \"variational/gaussian\"]\n\
                    model.widths = [[8, 4], [16]]";
        let grid = Grid::parse(text, "grid.toml").unwrap();
        assert_eq!(
            grid.presets(),
            ["variational/laplacian", "variational/gaussian"]
        );
        let plan = grid.plan::<Variational>().unwrap();
        let widths = plan
            .entries()
            .iter()
            .map(|entry| &entry.config.family.model.widths);
        let of_each = [vec![8, 4], vec![16]];
        assert!(widths.eq(of_each.iter().chain(&of_each)));
    }

    #[test]
    fn another_source_takes_its_own_keys() {
        let text =
            "preset = \"ecg/sdl\"\ndata = { source = \"signal\", path = \"a.csv\", window = 32 }";
        assert_eq!(plan(text).entries()[0].config.data.source(), "signal");
    }

    #[test]
    fn mistakes_are_named_with_their_key() {
        let preset = "preset = \"ecg/vdl\"\n";
        for (text, words) in [
            ("epochs = 3", &["preset", "mnist/vdl"][..]),
            ("preset = 3", &["preset", "3"]),
            ("preset = \"mnist/x\"", &["mnist/x", "mnist/vdl"]),
            ("preset = ", &["grid.toml", "line 1"]),
            (&format!("{preset}epochs = []"), &["epochs", "empty"]),
            (&format!("{preset}epochs = [1, [2]]"), &["epochs", "[2]"]),
            (
                &format!("{preset}epochs = [1, 0]"),
                &["epochs = 0", "at least 1"],
            ),
            (&format!("{preset}seed = [1.5]"), &["seed", "1.5"]),
            (&format!("{preset}lambda = [1]"), &["lambda", "unknown"]),
            (
                &format!("{preset}inference.lamda = 1"),
                &["inference.lamda", "lambda"],
            ),
            (
                &format!("{preset}inference.lambda = [\"a\"]"),
                &["inference.lambda", "f64"],
            ),
            (
                &format!("{preset}data.trian = [1]"),
                &["data.trian", "train"],
            ),
            (&format!("{preset}noise = [-1]"), &["noise", "positive"]),
            (
                &format!("{preset}noise = [1, 1.0]"),
                &["noise", "different"],
            ),
            (&format!("{preset}noise = 1"), &["noise", "list"]),
            (&format!("{preset}grid = []"), &["grid", "[[grid]]"]),
            (&format!("{preset}grid = 5"), &["grid", "[[grid]]"]),
            (&format!("{preset}[grid]\nnoise = [1]"), &["noise", "above"]),
            (
                &format!("{preset}[[grid]]\n[[grid]]\nseed = []"),
                &["[[grid]] 2: seed"],
            ),
            (
                &format!("{preset}\"model.code_dim\" = 3\n[model]\ncode_dim = 4"),
                &["model.code_dim", "twice"],
            ),
        ] {
            let message = refused(text);
            assert!(message.contains("grid.toml"), "{text}: {message}");
            for word in words {
                assert!(
                    message.contains(word),
                    "{text}: '{word}' is not in: {message}"
                );
            }
        }
        let axis: Vec<String> = (0..1001).map(|i| i.to_string()).collect();
        let axis = axis.join(", ");
        let message = refused(&format!("{preset}seed = [{axis}]\nepochs = [{axis}]"));
        assert!(message.contains("1002001"), "{message}");
    }
}
