use std::path::PathBuf;

use clap::Args;

use super::common::{print_json, usage};
use crate::lista::Config;
use crate::lista::reference;

/// Explain the keys of a configuration, or print a preset's
///
/// Without a preset: name, type, range, default and meaning of every key, or of those asked for.
/// With --preset: the configuration that train would use, as a file for its --config.
#[derive(Args)]
#[command(after_help = "Examples:
  sparsecode config
  sparsecode config data.window inference
  sparsecode config --preset ecg/vdl --set inference.lambda=0.02 > mine.toml")]
pub(super) struct Arguments {
    /// Keys, tables or parts of their names: inference.lambda, data, lambda [default: all]
    #[arg(value_name = "KEY", conflicts_with_all = ["preset", "markdown"])]
    keys: Vec<String>,
    /// Print the configuration of this preset (DATA/MODEL, such as mnist/vdl), with the meaning of
    /// each key
    #[arg(long, value_name = "PRESET")]
    preset: Option<String>,
    /// TOML file laid over the preset
    #[arg(long, value_name = "FILE", requires = "preset")]
    config: Option<PathBuf>,
    /// One value laid over preset and file: table.key=value; may be repeated
    #[arg(long, value_name = "KEY=VALUE", requires = "preset")]
    set: Vec<String>,
    /// Print the keys as the page docs/configuration.md
    #[arg(long, conflicts_with_all = ["preset", "json"])]
    markdown: bool,
    /// Print JSON: the JSON Schema of a configuration, or with --preset its values
    #[arg(long, conflicts_with = "keys")]
    json: bool,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    if let Some(preset) = &arguments.preset {
        let config = Config::layered(preset, arguments.config.as_deref(), &arguments.set)?;
        if arguments.json {
            return print_json(&config);
        }
        println!(
            "# {preset}. A file for `sparsecode train --config`; keys that are not set are comments."
        );
        print!("{}", reference::annotated(&config));
        return Ok(());
    }
    if arguments.json {
        return print_json(&reference::schema());
    }
    if arguments.markdown {
        print!("{}", reference::markdown());
        return Ok(());
    }
    let mut keys = reference::keys();
    if !arguments.keys.is_empty() {
        for asked in &arguments.keys {
            if !keys.iter().any(|key| key.name.contains(asked.as_str())) {
                return Err(usage(format!(
                    "no key has '{asked}' in its name; `sparsecode config` lists all"
                )));
            }
        }
        keys.retain(|key| {
            arguments
                .keys
                .iter()
                .any(|asked| key.name.contains(asked.as_str()))
        });
    }
    print!("{}", reference::text(&keys));
    Ok(())
}
