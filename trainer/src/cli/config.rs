use std::path::PathBuf;

use clap::Args;

use super::common::{print_json, usage};
use super::family::{FamilyName, with_family};
use crate::denoising::Denoise;
use crate::lista::Lista;
use crate::run::{Settings, reference};
use crate::variational::Variational;

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

impl Arguments {
    fn print_preset<F: Settings>(&self, preset: &str) -> anyhow::Result<()> {
        let file = self.config.as_deref();
        let config = crate::run::Config::<F>::layered(preset, file, &self.set)?;
        if self.json {
            return print_json(&config);
        }
        println!(
            "# {preset}. A file for `sparsecode train --config`; keys that are not set are comments."
        );
        print!("{}", reference::annotated(&config));
        Ok(())
    }
}

/// The page `docs/configuration.md`.
fn page() -> String {
    format!(
        "{INTRODUCTION}{}\n# Models that denoise\n\n{DENOISING}{}\n# Variational sparse \
         coding\n\n{VARIATIONAL}{}",
        reference::markdown::<Lista>(),
        reference::own_markdown::<Denoise>(),
        reference::own_markdown::<Variational>()
    )
}

const INTRODUCTION: &str = "\
# Configuration

<!-- Written from the source by `sparsecode config --markdown`; a test holds this page to it. -->

A run is resolved in layers: a preset, then a file (`train --config FILE`), then single values (`--set KEY=VALUE` and
the flags that are short for them). `train` saves the result in the run's folder as `config.toml`.

```sh
sparsecode config                                    # this reference, in the terminal
sparsecode config data.window                        # one key; `data` shows all keys of the table
sparsecode config --preset ecg/vdl > mine.toml       # all values of a preset, explained: a file to edit
sparsecode train --config mine.toml --set epochs=40 --out runs/mine
```

With `--preset` a file need hold only what differs from the preset. Unknown keys, wrong types and values out of range
are errors. Values are [TOML](https://toml.io): text needs quotes in a file, and none after `--set`. Another
`data.source` drops the keys of the former source.

`sparsecode config --json` prints the [JSON Schema](https://json-schema.org) of the file. An editor that knows TOML
completes and checks keys with the schema (`#:schema config.schema.json` in the first line).
";

const DENOISING: &str = "\
`train --task denoise` trains another family of models. Its files begin with `family = \"denoise\"`. The keys at the top
of the file and those of `[data]` are the same; the others are these.
";

const VARIATIONAL: &str = "\
`train --preset variational/…` trains the models of the second paper. Their files begin with
`family = \"variational\"`. The keys at the top of the file and those of `[data]` are the same; the others are these.
";

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    if let Some(preset) = &arguments.preset {
        let family = FamilyName::of_preset(preset);
        return with_family!(family, F => arguments.print_preset::<F>(preset));
    }
    if arguments.json {
        return print_json(&reference::schema::<Lista>());
    }
    if arguments.markdown {
        print!("{}", page());
        return Ok(());
    }
    let mut keys = reference::keys::<Lista>();
    for others in [
        reference::keys::<Denoise>(),
        reference::keys::<Variational>(),
    ] {
        let known: Vec<String> = keys.iter().map(|key| key.name.clone()).collect();
        keys.extend(others.into_iter().filter(|key| !known.contains(&key.name)));
    }
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

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn the_page_is_up_to_date() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/configuration.md");
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            text == page(),
            "docs/configuration.md is not what the source says; write it with: cargo run -- config --markdown > docs/configuration.md"
        );
    }
}
