//! Presets against the published table, layers of settings, and what is refused.

use std::path::Path;

use sparsecode_formats::Variant;
use sparsecode_trainer::data::DataConfig;
use sparsecode_trainer::lista::inference::{StepRule, Stopping};
use sparsecode_trainer::lista::{Config, preset_names};
use sparsecode_trainer::run::ConfigError;

fn preset(name: &str) -> Config {
    Config::preset(name).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn with(config: &Config, settings: &[&str]) -> Result<Config, ConfigError> {
    let settings: Vec<String> = settings.iter().map(|&s| s.to_owned()).collect();
    config.with_overrides(None, &settings)
}

#[test]
fn every_preset_resolves() {
    let names = preset_names();
    assert_eq!(names.len(), 5 * 10);
    for name in &names {
        let config = preset(name);
        let (data, model) = name.split_once('/').unwrap();
        assert_eq!(config.model_name(), model);
        let source = if data == "patches" { "images" } else { data };
        assert_eq!(config.data.source(), source);
        assert_eq!(config.has_encoder(), config.family.variant != Variant::Do);
        assert_eq!(
            (config.batch_size, config.family.model.lista_iterations),
            (250, 3)
        );
        let inference = &config.family.inference;
        assert_eq!((inference.max_iterations, inference.tolerance), (200, 1e-3));
        assert_eq!(inference.stopping, Stopping::Sliding);
        // Only a one-hidden decoder without an encoder cannot start at 0.
        assert_eq!(inference.initial_code > 0.0, model == "do-nl");
    }
    for unknown in [
        "mnist",
        "mnist/",
        "mnist/xyz",
        "cifar/sdl",
        "mnist/sdl-nl-nl",
        "",
    ] {
        let error = Config::preset(unknown).unwrap_err().to_string();
        assert!(
            error.contains(&format!("'{unknown}'")) && error.contains("patches/vdl-nl"),
            "{error}"
        );
    }
}

/// One row of the published table.
struct Row {
    name: &'static str,
    epochs: u32,
    lambdas: &'static [f64],
    gamma: f64,
    beta: f64,
    decoder_rate: f64,
    halved: bool,
    encoder_rate: f64,
    decay_b1: f64,
    decay_b: f64,
    eta: f64,
}

const ROWS: [Row; 8] = [
    Row {
        name: "mnist/sdl",
        epochs: 200,
        lambdas: &[0.0, 1e-4, 5e-4, 1e-3, 3e-3, 5e-3],
        gamma: 1.0,
        beta: 0.0,
        decoder_rate: 1e-3,
        halved: false,
        encoder_rate: 3e-4,
        decay_b1: 0.0,
        decay_b: 0.0,
        eta: 1.0,
    },
    Row {
        name: "mnist/vdl",
        epochs: 200,
        lambdas: &[0.0, 1e-3, 3e-3, 5e-3, 1e-2, 2e-2],
        gamma: 5.0,
        beta: 10.0,
        decoder_rate: 3e-4,
        halved: false,
        encoder_rate: 1e-4,
        decay_b1: 0.0,
        decay_b: 0.0,
        eta: 0.5,
    },
    Row {
        name: "mnist/sdl-nl",
        epochs: 200,
        lambdas: &[0.0, 1e-3, 3e-3, 5e-3, 1e-2, 2e-2],
        gamma: 1.0,
        beta: 0.0,
        decoder_rate: 1e-3,
        halved: false,
        encoder_rate: 1e-4,
        decay_b1: 1e-3,
        decay_b: 0.0,
        eta: 1.0,
    },
    Row {
        name: "mnist/vdl-nl",
        epochs: 200,
        lambdas: &[0.0, 1e-3, 3e-3, 5e-3, 1e-2, 2e-2],
        gamma: 100.0,
        beta: 10.0,
        decoder_rate: 3e-4,
        halved: true,
        encoder_rate: 1e-4,
        decay_b1: 1e-3,
        decay_b: 0.0,
        eta: 0.5,
    },
    Row {
        name: "patches/sdl",
        epochs: 100,
        lambdas: &[0.0, 5e-4, 1e-3, 2e-3, 3e-3, 5e-3],
        gamma: 1.0,
        beta: 0.0,
        decoder_rate: 1e-3,
        halved: false,
        encoder_rate: 1e-4,
        decay_b1: 0.0,
        decay_b: 1e-2,
        eta: 0.5,
    },
    Row {
        name: "patches/vdl",
        epochs: 100,
        lambdas: &[0.0, 1e-3, 3e-3, 5e-3, 1e-2, 1.5e-2],
        gamma: 5.0,
        beta: 10.0,
        decoder_rate: 3e-4,
        halved: false,
        encoder_rate: 1e-4,
        decay_b1: 0.0,
        decay_b: 1e-2,
        eta: 0.5,
    },
    Row {
        name: "patches/sdl-nl",
        epochs: 100,
        lambdas: &[0.0, 1e-3, 3e-3, 5e-3, 8e-3, 1e-2],
        gamma: 1.0,
        beta: 0.0,
        decoder_rate: 1e-3,
        halved: false,
        encoder_rate: 1e-4,
        decay_b1: 1e-2,
        decay_b: 1e-2,
        eta: 0.5,
    },
    Row {
        name: "patches/vdl-nl",
        epochs: 100,
        lambdas: &[0.0, 1e-3, 2e-3, 3e-3, 5e-3],
        gamma: 20.0,
        beta: 10.0,
        decoder_rate: 5e-5,
        halved: true,
        encoder_rate: 1e-4,
        decay_b1: 1e-1,
        decay_b: 1e-2,
        eta: 0.5,
    },
];

impl Row {
    fn check(&self, config: &Config, name: &str) {
        let (inference, optimizer) = (&config.family.inference, &config.family.optimizer);
        let (linear, patches) = (!name.ends_with("-nl"), name.starts_with("patches"));
        assert_eq!(config.epochs, self.epochs, "{name}");
        assert!(
            self.lambdas.contains(&inference.lambda),
            "{name}: {}",
            inference.lambda
        );
        assert_eq!(inference.variance_weight, self.beta, "{name}");
        assert_eq!(inference.variance_threshold, 0.5, "{name}");
        assert_eq!(inference.step_size, self.eta, "{name}");
        assert_eq!(optimizer.decoder_learning_rate, self.decoder_rate, "{name}");
        assert_eq!(optimizer.encoder_learning_rate, self.encoder_rate, "{name}");
        assert_eq!(
            optimizer.halve_decoder_rate_every,
            if self.halved { 30 } else { 0 },
            "{name}"
        );
        assert_eq!(
            config.weight_decay("decoder.hidden_bias"),
            self.decay_b1,
            "{name}"
        );
        assert_eq!(config.weight_decay("encoder.bias"), self.decay_b, "{name}");
        for parameter in ["encoder.input", "encoder.recurrent"] {
            assert_eq!(config.weight_decay(parameter), 0.0, "{name}: {parameter}");
        }
        let sizes = match (patches, linear) {
            (false, true) => (128, 0),
            (false, false) => (128, 1024),
            (true, true) => (256, 0),
            (true, false) => (256, 2048),
        };
        assert_eq!(
            (config.family.model.code_dim, config.family.model.hidden_dim),
            sizes,
            "{name}"
        );
    }
}

fn decoder_decay(config: &Config) -> [f64; 3] {
    ["decoder.dictionary", "decoder.hidden", "decoder.output"].map(|name| config.weight_decay(name))
}

#[test]
fn presets_are_the_published_table() {
    for row in &ROWS {
        let config = preset(row.name);
        row.check(&config, row.name);
        assert_eq!(
            config.family.inference.encoder_weight, row.gamma,
            "{}",
            row.name
        );
        assert_eq!(decoder_decay(&config), [0.0; 3]);
        assert_eq!(
            config.normalizes_columns(),
            row.name.contains("sdl"),
            "{}",
            row.name
        );
    }
}

/// WDL, DO and the ablation have the row of SDL.
#[test]
fn other_variants_take_the_row_of_sdl() {
    for row in ROWS.iter().filter(|row| row.name.contains("sdl")) {
        let wdl = row.name.replace("sdl", "wdl");
        let config = preset(&wdl);
        row.check(&config, &wdl);
        assert_eq!(config.family.inference.encoder_weight, row.gamma);
        assert_eq!(decoder_decay(&config), [5e-4; 3]);
        assert!(!config.normalizes_columns());

        let plain = row.name.replace("sdl", "none");
        let config = preset(&plain);
        row.check(&config, &plain);
        assert_eq!(config.family.inference.encoder_weight, row.gamma);
        assert_eq!(decoder_decay(&config), [0.0; 3]);
        assert!(!config.normalizes_columns());

        let without_encoder = row.name.replace("sdl", "do");
        let config = preset(&without_encoder);
        row.check(&config, &without_encoder);
        assert_eq!(config.family.inference.encoder_weight, 0.0);
        assert_eq!(decoder_decay(&config), [0.0; 3]);
        assert!(config.normalizes_columns() && !config.has_encoder());
    }
}

#[test]
fn another_lambda_brings_its_encoder_weight() {
    let patches = preset("patches/vdl-nl");
    for (lambda, gamma) in [
        (0.0, 20.0),
        (1e-3, 20.0),
        (5e-3, 20.0),
        (1e-2, 40.0),
        (2e-2, 40.0),
    ] {
        let config = patches.clone().at_lambda(lambda);
        assert_eq!(config.family.inference.lambda, lambda);
        assert_eq!(config.family.inference.encoder_weight, gamma, "{lambda}");
    }
    for name in ["mnist/vdl-nl", "patches/vdl", "patches/sdl-nl"] {
        let config = preset(name).at_lambda(2e-2);
        assert_eq!(config.family.inference.lambda, 2e-2);
        assert_eq!(
            config.family.inference.encoder_weight,
            preset(name).family.inference.encoder_weight
        );
    }
}

#[test]
fn decoder_rate_halves_by_epoch() {
    let config = preset("mnist/vdl-nl");
    for (epoch, rate) in [
        (0, 3e-4),
        (29, 3e-4),
        (30, 1.5e-4),
        (59, 1.5e-4),
        (60, 0.75e-4),
    ] {
        assert!(
            (config.decoder_learning_rate(epoch) - rate).abs() < 1e-18,
            "{epoch}"
        );
    }
    assert_eq!(preset("mnist/vdl").decoder_learning_rate(199), 3e-4);
}

#[test]
fn layers_lie_over_one_another() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("mine.toml");
    let text = "epochs = 7\n[inference]\nlambda = 0.5\ntolerance = 0\n[model]\ncode_dim = 9\n";
    std::fs::write(&file, text).unwrap();
    let base = preset("mnist/vdl");
    let settings = [
        "inference.lambda=1".to_owned(),
        "model.hidden_dim=12".to_owned(),
    ];
    let config = base.with_overrides(Some(&file), &settings).unwrap();
    let mut expected = base.clone();
    expected.epochs = 7;
    expected.family.inference.lambda = 1.0;
    expected.family.inference.tolerance = 0.0;
    expected.family.model.code_dim = 9;
    expected.family.model.hidden_dim = 12;
    assert_eq!(config, expected);
    assert_eq!(config.model_name(), "vdl-nl");
    assert_eq!(base.with_overrides(None, &[]).unwrap(), base);
    // The last setting of a key wins, and another source brings its own table.
    let config = with(
        &base,
        &["epochs=3", "epochs=4", "data.source=ecg", "data.window=32"],
    )
    .unwrap();
    assert_eq!(config.epochs, 4);
    assert!(matches!(&config.data, DataConfig::Ecg(ecg) if ecg.window == 32));
    // Text needs no quotes.
    let config = with(&base, &["variant=do", "inference.stopping=freeze"]).unwrap();
    assert_eq!(
        (config.family.variant, config.family.inference.stopping),
        (Variant::Do, Stopping::Freeze)
    );
}

#[test]
fn mistakes_are_named() {
    let base = preset("dead-leaves/vdl");
    for (setting, words) in [
        // Unknown keys.
        ("epoch=3", vec!["epoch"]),
        ("inference.lamda=0.1", vec!["lamda"]),
        ("data.hight=3", vec!["hight"]),
        ("optimiser.decoder_learning_rate=0.1", vec!["optimiser"]),
        // Wrong types.
        ("epochs=many", vec!["epochs", "many"]),
        ("epochs=2.5", vec!["epochs", "2.5"]),
        ("epochs=-1", vec!["epochs", "-1"]),
        ("inference.lambda=small", vec!["lambda", "small"]),
        ("inference=3", vec!["inference"]),
        ("model.code_dim=[1]", vec!["code_dim"]),
        (
            "inference.stopping=never",
            vec!["stopping", "never", "freeze"],
        ),
        ("variant=xdl", vec!["variant", "xdl", "sdl"]),
        ("data.source=cifar", vec!["cifar", "mnist"]),
        // Out of range.
        ("epochs=0", vec!["epochs", "at least 1"]),
        ("batch_size=1", vec!["batch_size", "at least 2"]),
        ("model.code_dim=0", vec!["model.code_dim", "65535"]),
        ("model.code_dim=65536", vec!["model.code_dim", "65536"]),
        ("model.hidden_dim=65536", vec!["model.hidden_dim", "65536"]),
        (
            "model.lista_iterations=256",
            vec!["model.lista_iterations", "255"],
        ),
        (
            "inference.step_size=0",
            vec!["inference.step_size", "positive"],
        ),
        (
            "inference.step_size=inf",
            vec!["inference.step_size", "inf"],
        ),
        (
            "inference.max_iterations=0",
            vec!["inference.max_iterations", "at least 1"],
        ),
        ("inference.lambda=-0.1", vec!["inference.lambda", "-0.1"]),
        ("inference.lambda=nan", vec!["inference.lambda", "NaN"]),
        ("inference.tolerance=-1", vec!["inference.tolerance"]),
        (
            "inference.encoder_weight=-1",
            vec!["inference.encoder_weight"],
        ),
        (
            "inference.variance_weight=-1",
            vec!["inference.variance_weight"],
        ),
        (
            "inference.variance_threshold=-1",
            vec!["inference.variance_threshold"],
        ),
        ("inference.initial_code=-1", vec!["inference.initial_code"]),
        (
            "optimizer.decoder_learning_rate=-1",
            vec!["optimizer.decoder_learning_rate"],
        ),
        (
            "optimizer.encoder_learning_rate=-1",
            vec!["optimizer.encoder_learning_rate"],
        ),
        (
            "optimizer.decoder_weight_decay=-1",
            vec!["optimizer.decoder_weight_decay"],
        ),
        (
            "optimizer.hidden_bias_weight_decay=-1",
            vec!["optimizer.hidden_bias_weight_decay"],
        ),
        (
            "optimizer.encoder_bias_weight_decay=-1",
            vec!["optimizer.encoder_bias_weight_decay"],
        ),
        // Not a setting.
        ("lambda", vec!["'lambda'", "table.key=value"]),
        ("=3", vec!["'=3'"]),
        ("a b=3", vec!["'a b=3'"]),
    ] {
        let error = match with(&base, &[setting]) {
            Ok(_) => panic!("{setting} was taken"),
            Err(error) => error.to_string(),
        };
        for word in words {
            assert!(error.contains(word), "{setting}: no '{word}' in: {error}");
        }
        assert!(!error.contains('\n'), "{setting}: {error}");
    }
}

#[test]
fn files_that_cannot_be_used_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("wrong.toml");
    let base = preset("mnist/sdl");
    let errors = |file: &Path| {
        [
            Config::read(file).unwrap_err(),
            base.with_overrides(Some(file), &[]).unwrap_err(),
        ]
        .map(|error| error.to_string())
    };
    for error in errors(&file) {
        assert!(error.contains("wrong.toml"), "{error}");
    }
    for (text, key) in [
        ("epochs = = 3", ""),
        ("epochs = 3\nepochs = 4", "epochs"),
        ("x = 3", "x"),
    ] {
        std::fs::write(&file, text).unwrap();
        for error in errors(&file) {
            assert!(
                error.contains("wrong.toml") && error.contains(key),
                "{text}: {error}"
            );
        }
    }
}

#[test]
fn saved_configurations_read_back() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config.toml");
    for name in preset_names() {
        let config = preset(&name);
        std::fs::write(&file, config.to_toml()).unwrap();
        let read = Config::read(&file).unwrap();
        assert_eq!(read, config, "{name}");
        assert_eq!(read.to_toml(), config.to_toml());
        assert_eq!(read.hash(), config.hash());
    }
    let largest = Config {
        seed: i64::MAX as u64,
        ..preset("mnist/sdl")
    };
    std::fs::write(&file, largest.to_toml()).unwrap();
    assert_eq!(Config::read(&file).unwrap(), largest);
}

/// All keys of a table with their values, `a.b.c`.
fn leaves(prefix: &str, table: &toml::Table, found: &mut Vec<(String, toml::Value)>) {
    for (key, value) in table {
        let path = format!("{prefix}{key}");
        match value {
            toml::Value::Table(table) => leaves(&format!("{path}."), table, found),
            value => found.push((path, value.clone())),
        }
    }
}

#[test]
fn hash_changes_with_any_value() {
    for name in ["mnist/vdl", "dead-leaves/do-nl", "ecg/none", "patches/sdl"] {
        let config = preset(name);
        let hash = config.hash();
        assert_eq!(hash.len(), 16);
        assert!(hash.chars().all(|c| c.is_ascii_hexdigit()));
        let mut keys = Vec::new();
        leaves("", &config.to_toml().parse().unwrap(), &mut keys);
        assert!(keys.len() >= 24, "{keys:?}");
        let mut hashes = vec![hash];
        for (key, value) in keys {
            let other = match (key.as_str(), value) {
                ("data.source", _) => "vibration".to_owned(),
                ("variant", _) => "wdl".to_owned(),
                ("inference.stopping", _) => "freeze".to_owned(),
                ("inference.step_rule", _) => "fixed".to_owned(),
                (_, toml::Value::Integer(number)) => (number + 1).to_string(),
                (_, toml::Value::Float(number)) => (number * 1.25 + 1e-6).to_string(),
                (_, toml::Value::Boolean(flag)) => (!flag).to_string(),
                (key, value) => {
                    panic!("{key} = {value}: a kind of value that this test does not change")
                }
            };
            let setting = format!("{key}={other}");
            let changed = with(&config, &[&setting]).unwrap_or_else(|e| panic!("{setting}: {e}"));
            hashes.push(changed.hash());
        }
        let count = hashes.len();
        hashes.sort_unstable();
        hashes.dedup();
        assert_eq!(
            hashes.len(),
            count,
            "{name}: two configurations with one hash"
        );
    }
}

#[test]
fn the_order_of_settings_does_not_matter() {
    let settings = ["data.window=32", "data.source=vibration", "data.hop=8"].map(str::to_owned);
    let mut reversed = settings.clone();
    reversed.reverse();
    let base = Config::preset("ecg/vdl").unwrap();
    let config = base.with_overrides(None, &settings).unwrap();
    assert_eq!(config, base.with_overrides(None, &reversed).unwrap());
    let text = config.to_toml();
    assert!(
        text.contains("vibration") && text.contains("window = 32") && text.contains("hop = 8"),
        "{text}"
    );
    // Nor does a source that is named twice take the other settings with it.
    let path = "data.path=\"x.npy\"";
    let sources = ["data.source=signal", "data.source=npy"];
    for settings in [
        [sources[0], path, sources[1]],
        [path, sources[0], sources[1]],
        [sources[0], sources[1], path],
    ] {
        let config = with(&base, &settings).unwrap();
        let DataConfig::Npy(data) = &config.data else {
            panic!("{:?}", config.data);
        };
        assert_eq!(
            data.path.as_deref(),
            Some(Path::new("x.npy")),
            "{settings:?}"
        );
    }
    // A layer above another still brings its own source with its own keys.
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "[data]\nsource = 'signal'\nwindow = 32").unwrap();
    let above = base.with_overrides(
        Some(file.path()),
        &["data.source=npy".to_owned(), path.to_owned()],
    );
    assert!(matches!(above.unwrap().data, DataConfig::Npy(_)));
}

#[test]
fn a_start_without_a_gradient_is_refused() {
    let hidden = ["model.hidden_dim=32".to_owned()];
    let error = Config::preset("mnist/do")
        .unwrap()
        .with_overrides(None, &hidden)
        .unwrap_err();
    assert!(
        error.to_string().contains("inference.initial_code"),
        "{error}"
    );
    assert!(
        Config::preset("mnist/do-nl")
            .unwrap()
            .with_overrides(None, &hidden)
            .is_ok()
    );
}

/// What repeats a paper has the papers' step, and a configuration's text and hash of before there
/// was another.
#[test]
fn the_step_is_bounded_where_nothing_is_repeated() {
    for name in preset_names() {
        let config = preset(&name);
        let repeats = name.starts_with("mnist/") || name.starts_with("patches/");
        let rule = if repeats {
            StepRule::Fixed
        } else {
            StepRule::Bounded
        };
        assert_eq!(config.family.inference.step_rule, rule, "{name}");
        assert_eq!(config.to_toml().contains("step_rule"), !repeats, "{name}");
    }
    assert_eq!(preset("mnist/vdl").hash(), "dfd80f832113d022");
    assert_eq!(preset("patches/sdl-nl").hash(), "16e5b8c54a05f081");
}

/// A person's own signal or array is trained on with a bounded step, whatever the preset, unless
/// somebody says otherwise.
#[test]
fn own_signals_have_a_bounded_step() {
    let rule = |base: &str, settings: &[&str]| {
        let config = with(&preset(base), settings).unwrap();
        config.family.inference.step_rule
    };
    for base in ["mnist/vdl", "patches/sdl", "ecg/do"] {
        assert_eq!(rule(base, &["data.source=signal"]), StepRule::Bounded);
        let npy = ["inference.lambda=0.1", "data.path=a.npy", "data.source=npy"];
        assert_eq!(rule(base, &npy), StepRule::Bounded);
        let fixed = ["data.source=signal", "inference.step_rule=fixed"];
        assert_eq!(rule(base, &fixed), StepRule::Fixed);
    }
    assert_eq!(rule("patches/sdl", &["data.source=mnist"]), StepRule::Fixed);
    let table = "data.source = 'npy'".parse().unwrap();
    let config = preset("mnist/vdl").with_table(table).unwrap();
    assert_eq!(config.family.inference.step_rule, StepRule::Bounded);

    // A whole configuration, as an older run's, means what it says, also over a preset that says
    // more.
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config.toml");
    let older = with(
        &preset("ecg/vdl"),
        &["data.source=signal", "inference.step_rule=fixed"],
    )
    .unwrap();
    assert!(!older.to_toml().contains("step_rule"));
    std::fs::write(&file, older.to_toml()).unwrap();
    let read = preset("dead-leaves/vdl")
        .with_overrides(Some(&file), &[])
        .unwrap();
    assert_eq!(read, older);
    std::fs::write(&file, "[data]\nsource = 'signal'\n").unwrap();
    let read = preset("mnist/vdl")
        .with_overrides(Some(&file), &[])
        .unwrap();
    assert_eq!(read.family.inference.step_rule, StepRule::Bounded);
}
