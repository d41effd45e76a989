//! `evaluate` of a model file on a person's file, as a device runs it.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use serde::Serialize;

use super::common::{check_extension, print_json, usage};
use super::data_flags::OtherData;
use super::input::{FileFlags, UnitFlags, check_not, known};
use super::refine::RefineFlags;
use crate::data::{has_extension, picture, recording};
use crate::deploy::denoise::{Layout, Window};
use crate::deploy::given::Given;
use crate::deploy::measure::{Recorded, measure_recorded};
use crate::deploy::{HostModel, read_model};
use crate::report::table::{Table, decibels, percent};
use crate::storage::write_atomic;

/// Flags of `evaluate` for a model file.
#[derive(Args)]
pub(super) struct Flags {
    /// For a model file: write a table with a row for each window, to plot over time
    ///
    /// Columns: file, channel, start of the window, residual_rms (root mean square of input minus
    /// reconstruction, in raw units), energy, active_atoms, zeros_percent. The windows are those of
    /// the data without added noise.
    #[arg(long, value_name = "OUT.csv", help_heading = "Model files")]
    windows: Option<PathBuf>,
    #[command(flatten)]
    refine: RefineFlags,
    #[command(flatten)]
    reading: FileFlags,
    #[command(flatten)]
    units: UnitFlags,
}

impl Flags {
    /// A flag that was given and that means nothing for a run.
    pub(super) fn given(&self) -> Option<&'static str> {
        let windows = self.windows.as_ref().map(|_| "--windows");
        windows
            .or(self.refine.given())
            .or(self.reading.given_for_files())
            .or(self.units.given_for_files())
    }

    /// How files are read.
    pub(super) fn reading(&self) -> &FileFlags {
        &self.reading
    }

    /// What is said about the numbers of files.
    pub(super) fn units(&self) -> &UnitFlags {
        &self.units
    }

    /// What is said about the data of a run.
    pub(super) fn of_run(&self) -> OtherData {
        OtherData {
            hints: self.reading.hints(),
            may_differ: Some(self.units.allow_mismatch),
        }
    }
}

/// Figures of one channel of one file.
#[derive(Serialize)]
struct Row {
    file: PathBuf,
    /// Null where the file has one channel.
    channel: Option<String>,
    #[serde(flatten)]
    figures: Recorded,
}

/// Whether a path is called as model files are.
pub(super) fn is_model(path: &Path) -> bool {
    path.extension()
        .is_some_and(|ending| ending == "safetensors")
}

/// Measures the model in `file` on `data`, a file or a folder of files.
pub(super) fn run(
    file: &Path,
    data: Option<&Path>,
    noise: &[f64],
    flags: &Flags,
    json: bool,
) -> anyhow::Result<()> {
    let Some(data) = data else {
        return Err(usage(format!(
            "{}: a model file names no data; name a recording, a picture or an array with --data \
             FILE",
            file.display()
        )));
    };
    let files = files(data)?;
    if let Some(windows) = &flags.windows {
        check_extension(windows, &["csv"])?;
        check_not(windows, "--windows", "model", file)?;
        for data in &files {
            check_not(windows, "--windows", "data file", data)?;
        }
    }
    let bytes = read_model(file)?;
    let mut host = HostModel::new(&bytes, &file.display().to_string())?;
    let known = known(&host, &bytes, file)?;
    let refine = flags.refine.settings(&host)?;
    let mut rows = Vec::new();
    let mut lines = Lines::default();
    for path in &files {
        let mut given = flags.reading.read(path, &host)?;
        flags.units.to_raw(&known, &mut given)?;
        for part in &given.parts {
            for noise in std::iter::once(None).chain(noise.iter().copied().map(Some)) {
                let (figures, windows) = measure_recorded(
                    &mut host,
                    &part.values,
                    given.layout,
                    noise,
                    refine.as_ref(),
                )
                .with_context(|| path.display().to_string())?;
                if noise.is_none() {
                    lines.push(
                        &given,
                        part.name.as_deref(),
                        &windows,
                        host.spec().code_dim(),
                    );
                }
                rows.push(Row {
                    file: path.clone(),
                    channel: part.name.clone(),
                    figures,
                });
            }
        }
    }
    if let Some(path) = &flags.windows {
        write_atomic(path, lines.table().as_bytes())?;
    }
    if json {
        return print_json(&rows);
    }
    let spec = host.spec();
    println!(
        "{}: {}, weights {}, {}",
        file.display(),
        spec.name(),
        spec.weights,
        match refine {
            Some(_) => "refined codes",
            None => "codes as the device finds them",
        }
    );
    print!("{}", table(&rows));
    if let Some(path) = &flags.windows {
        println!("{}: {} windows", path.display(), lines.rows.len());
    }
    Ok(())
}

/// The file, or the files of a folder in the order of their names.
fn files(data: &Path) -> anyhow::Result<Vec<PathBuf>> {
    if !data.is_dir() {
        return Ok(vec![data.to_path_buf()]);
    }
    let endings = [&recording::EXTENSIONS[..], &picture::EXTENSIONS].concat();
    let mut files = Vec::new();
    for entry in data
        .read_dir()
        .with_context(|| data.display().to_string())?
    {
        let path = entry?.path();
        if has_extension(&path, &endings) && path.is_file() {
            files.push(path);
        }
    }
    files.sort();
    if files.is_empty() {
        anyhow::bail!(
            "{}: no file in this folder ends in .{}",
            data.display(),
            endings.join(", .")
        );
    }
    Ok(files)
}

fn table(rows: &[Row]) -> Table {
    let mut table = Table::new([
        "file",
        "channel",
        "windows",
        "noise",
        "PSNR input",
        "PSNR",
        "residual rms",
        "zeros",
        "l1",
        "energy",
        "dead atoms",
    ]);
    for row in rows {
        let name = row.file.file_name().unwrap_or(row.file.as_os_str());
        let figures = &row.figures;
        table.push([
            name.to_string_lossy().into_owned(),
            row.channel.clone().unwrap_or_default(),
            figures.windows.to_string(),
            figures
                .noise
                .map_or_else(|| "0".to_owned(), |sigma| sigma.to_string()),
            figures.psnr_input.map_or_else(String::new, decibels),
            decibels(figures.psnr),
            format!("{:.4}", figures.residual_rms),
            percent(figures.sparsity),
            format!("{:.3}", figures.code_l1),
            format!("{:.4}", figures.energy),
            figures.dead_atoms.to_string(),
        ]);
    }
    table
}

/// The table of windows: text of a `.csv`.
#[derive(Default)]
struct Lines {
    rows: Vec<Line>,
}

struct Line {
    file: String,
    channel: String,
    /// In the order of [`PLACES`].
    place: [Option<f64>; 5],
    found: [f64; 4],
}

/// Where a window starts: of a signal, of a picture, of an array of samples. Those that no file has
/// are left out.
const PLACES: [&str; 5] = ["start_sample", "start_second", "left", "top", "sample"];

impl Lines {
    fn push(&mut self, given: &Given, channel: Option<&str>, windows: &[Window], code_dim: usize) {
        for window in windows {
            let [start, row] = [window.start, window.row].map(|place| Some(place as f64));
            let second = given
                .sample_rate
                .map(|rate| window.start as f64 / f64::from(rate));
            let zeros = 100.0 * (1.0 - window.active as f64 / code_dim as f64);
            self.rows.push(Line {
                file: quoted(&given.path.display().to_string()),
                channel: quoted(channel.unwrap_or_default()),
                place: match given.layout {
                    Layout::Signal { .. } => [start, second, None, None, None],
                    Layout::Image { .. } => [None, None, start, row, None],
                    Layout::Samples => [None, None, None, None, row],
                },
                found: [
                    window.residual_rms,
                    window.energy,
                    window.active as f64,
                    zeros,
                ],
            });
        }
    }

    fn table(&self) -> String {
        let is_used = |place: &usize| self.rows.iter().any(|row| row.place[*place].is_some());
        let used: Vec<usize> = (0..PLACES.len()).filter(is_used).collect();
        let names = ["residual_rms", "energy", "active_atoms", "zeros_percent"];
        let heads = used.iter().map(|&place| PLACES[place]).chain(names);
        let mut text = format!("file,channel,{}\n", heads.collect::<Vec<_>>().join(","));
        for row in &self.rows {
            let places = used.iter().map(|&place| row.place[place]);
            let numbers = places.chain(row.found.map(Some));
            let fields: Vec<String> = numbers
                .map(|number| number.map_or_else(String::new, |x| x.to_string()))
                .collect();
            // Writing to a string does not fail.
            let _ = writeln!(text, "{},{},{}", row.file, row.channel, fields.join(","));
        }
        text
    }
}

/// A field of a `.csv`.
fn quoted(text: &str) -> String {
    if text.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.to_owned()
    }
}
