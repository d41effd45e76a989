//! What exported files take off noise on ECG records and pictures that training never saw.

mod parts;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;

const TRAIN: [&str; 8] = ["100", "106", "109", "118", "122", "200", "219", "230"];
const VALIDATION: [&str; 2] = ["115", "228"];
/// The records of the split that figures are stated of.
pub const TEST: [&str; 4] = ["103", "119", "214", "223"];
const NOISE: &str = "noise_em.npy,noise_ma.npy,noise_bw.npy";

/// A model of the table.
struct Model {
    name: &'static str,
    window: usize,
    hop: usize,
    code_dim: usize,
    epochs: u32,
    /// The lowest and the highest level of the noise in training, in dB.
    levels: (f64, f64),
    recorded: bool,
}

/// Sizes, epochs and levels were chosen by the mean gain at 0, 5 and 10 dB on [`VALIDATION`].
const MODELS: [Model; 3] = [
    Model {
        name: "white-64",
        window: 64,
        hop: 16,
        code_dim: 64,
        epochs: 14,
        levels: (0.0, 10.0),
        recorded: false,
    },
    Model {
        name: "white-32",
        window: 64,
        hop: 16,
        code_dim: 32,
        epochs: 14,
        levels: (0.0, 10.0),
        recorded: false,
    },
    Model {
        name: "recorded-80",
        window: 128,
        hop: 16,
        code_dim: 80,
        epochs: 40,
        levels: (-5.0, 13.0),
        recorded: true,
    },
];

/// A model of one patient or machine.
struct OwnModel {
    name: &'static str,
    /// Its recording in the folder `sensor`.
    recording: &'static str,
    hop: usize,
    code_dim: usize,
    epochs: u32,
    /// Samples from one stretch of training to the next.
    stride: usize,
    /// `optimizer.level_exponent` and `optimizer.code_l1`.
    loss: (f64, f64),
}

/// Settings were chosen by the mean gain at 0, 5 and 10 dB on the part for validation; those of the
/// healthy bearing are the other one's.
const OWN_MODELS: [OwnModel; 3] = [
    OwnModel {
        name: "ecg-208",
        recording: "ecg_mitbih208_360hz_mV.npy",
        hop: 16,
        code_dim: 128,
        epochs: 20,
        stride: 8,
        loss: (1.0, 3e-3),
    },
    OwnModel {
        name: "bearing-fault",
        recording: "vibration_cwru_ir007_0_de_12khz.npy",
        hop: 8,
        code_dim: 112,
        epochs: 40,
        stride: 4,
        loss: (0.7, 1e-3),
    },
    OwnModel {
        name: "healthy-bearing",
        recording: "vibration_cwru_normal0_de.npy",
        hop: 8,
        code_dim: 112,
        epochs: 10,
        stride: 8,
        loss: (0.7, 1e-3),
    },
];

impl OwnModel {
    /// The run's configuration.
    fn config(&self) -> String {
        let &Self {
            name, hop, stride, ..
        } = self;
        let (exponent, l1) = self.loss;
        let part = |part: &str| format!("\"{name}_{part}.npy\"");
        let [train, validation, test] = ["train", "validation", "test"].map(part);
        format!(
            "family = \"denoise\"\nepochs = {}\n[model]\nwindow = 64\nhop = {hop}\ncode_dim = {}\n\
             [noise]\nhighest = 13.0\n[optimizer]\nlevel_exponent = {exponent}\ncode_l1 = {l1}\n\
             [data]\nsource = \"signal\"\npath = [{train}, {validation}, {test}]\n\
             validation_files = [{validation}]\ntest_files = [{test}]\nwindow = 304\nhop = {stride}\n\
             normalisation = \"recording\"\nvalidation = 60\ntest = 60\n",
            self.epochs, self.code_dim,
        )
    }
}

/// A model of patches of pictures.
struct PictureModel {
    name: &'static str,
    side: usize,
    hop: usize,
    code_dim: usize,
    epochs: u32,
}

const PICTURE_MODELS: [PictureModel; 2] = [
    PictureModel {
        name: "pictures-128",
        side: 8,
        hop: 4,
        code_dim: 128,
        epochs: 12,
    },
    PictureModel {
        name: "pictures-256",
        side: 12,
        hop: 3,
        code_dim: 256,
        epochs: 24,
    },
];

/// So many pictures, the last ones by name, are measured.
const PICTURES: usize = 8;

impl PictureModel {
    /// The run's configuration.
    fn config(&self, test: &[String]) -> String {
        let &Self { side, hop, .. } = self;
        format!(
            "family = \"denoise\"\nepochs = {}\n[model]\nwindow = {side}\nhop = {hop}\ncode_dim = \
             {}\n[noise]\nlowest = 2.0\nhighest = 13.0\n[data]\nsource = \"images\"\ncontrast = \
             \"none\"\npatch = {}\ntrain = 6000\nvalidation = 300\ntest = 300\ntest_files = \
             {test:?}\n",
            self.epochs,
            self.code_dim,
            side + 4 * hop,
        )
    }
}

/// A row that `sparsecode evaluate --task denoise --json` prints of a model of pictures.
#[derive(Deserialize)]
struct PictureRow {
    picture: Option<String>,
    sigma: f64,
    psnr_noisy: f64,
    psnr: f64,
    active: f64,
    seconds: f64,
}

/// A row that `sparsecode evaluate --task denoise --json` prints.
#[derive(Deserialize)]
struct Row {
    recording: Option<String>,
    input: f64,
    gain: f64,
    prd: f64,
    f1: Option<f64>,
    f1_noisy: Option<f64>,
}

impl Model {
    /// The run's configuration.
    fn config(&self) -> String {
        let files = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(|n| format!("\"ecg_{n}.npy\"")).collect();
            format!("[{}]", names.join(", "))
        };
        let all = [&TRAIN[..], &VALIDATION, &TEST].concat();
        let (lowest, highest) = self.levels;
        let mut noise = format!("[noise]\nlowest = {lowest:?}\nhighest = {highest:?}\n");
        let guard = match self.recorded {
            false => "1.3",
            true => {
                let quoted = NOISE.replace(',', "\", \"");
                let _ = write!(noise, "white = 0.0\nrecordings = [\"{quoted}\"]\n");
                "3.0"
            }
        };
        let (window, hop) = (self.window, self.hop);
        format!(
            "family = \"denoise\"\nepochs = {}\n[model]\nwindow = {window}\nhop = {hop}\ncode_dim = \
             {}\nguard = {guard}\n{noise}[data]\nsource = \"signal\"\npath = {}\nvalidation_files = \
             {}\ntest_files = {}\nwindow = {}\nhop = {}\nnormalisation = \"recording\"\ndrift = \
             361\nsample_rate = 360\nvalidation = 300\ntest = 300\n",
            self.epochs,
            self.code_dim,
            files(&all),
            files(&VALIDATION),
            files(&TEST),
            window + 15 * hop,
            4 * hop,
        )
    }
}

/// The program, and where it works.
#[derive(Debug)]
pub struct Bench {
    /// `sparsecode`.
    pub program: PathBuf,
    /// The folder of `sensor2`, with recordings `ecg_NNN.npy`, beats `beats_NNN.npy` and noise, and
    /// of `natural`, with pictures.
    pub data: PathBuf,
    /// For runs and files, which are used again.
    pub folder: PathBuf,
}

impl Bench {
    fn run(&self, arguments: &[&str]) -> Result<String> {
        let output = Command::new(&self.program)
            .args(arguments)
            .stderr(Stdio::inherit())
            .output()
            .with_context(|| format!("cannot start {}", self.program.display()))?;
        ensure!(output.status.success(), "{arguments:?} failed");
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Trains and exports a model of this configuration, unless its file is there, of the same
    /// configuration.
    fn trained(&self, name: &str, data: &Path, settings: &str) -> Result<PathBuf> {
        let place = |ending: &str| self.folder.join(format!("{name}{ending}"));
        let (run, config, file) = (place(""), place(".toml"), place(".safetensors"));
        let is_same = std::fs::read_to_string(&config).is_ok_and(|text| text == settings);
        if file.exists() && is_same {
            return Ok(file);
        }
        // A run of this bench alone: beside any other folder there is no such file.
        if !is_same && config.exists() && run.exists() {
            std::fs::remove_dir_all(&run)?;
        }
        std::fs::write(&config, settings)?;
        let (run, config, data) = (text(&run)?, text(&config)?, text(data)?);
        let mut train = vec![
            "train", "--task", "denoise", "--config", config, "--data", data, "--out", run,
        ];
        if place("").join("checkpoint.safetensors").exists() {
            train.push("--resume");
        }
        let begun = Instant::now();
        self.run(&train)?;
        std::fs::write(
            place(".seconds"),
            format!("{:.0}", begun.elapsed().as_secs_f64()),
        )?;
        let written = text(&file)?;
        self.run(&[
            "export",
            run,
            "--activations",
            "i16",
            "--gram",
            "built",
            "--data",
            data,
            "--output",
            written,
        ])?;
        Ok(file)
    }

    /// How long a model trained, for the heading of its section.
    fn training(&self, name: &str) -> String {
        let seconds = std::fs::read_to_string(self.folder.join(format!("{name}.seconds")));
        seconds.map_or_else(|_| String::new(), |s| format!(", trained in {s} s"))
    }

    /// Trains and exports what is not there yet, and measures each file on these records: a
    /// section of Markdown for each.
    ///
    /// # Errors
    /// If a command fails.
    pub fn sections(&self, records: &[String]) -> Result<String> {
        let seen = |record: &&String| TRAIN.iter().chain(&VALIDATION).any(|known| known == record);
        if let Some(record) = records.iter().find(seen) {
            bail!("--records {record}: training or validation sees it; name others");
        }
        std::fs::create_dir_all(&self.folder)?;
        let mut page = String::new();
        for model in &MODELS {
            let file = self.trained(model.name, &self.data.join("sensor2"), &model.config())?;
            let bytes = std::fs::metadata(&file)?.len();
            let recorded = ["--noise-recordings", NOISE];
            let noise: &[&str] = if model.recorded { &recorded } else { &[] };
            let told = self.measure(&file, records, noise)?;
            // What is estimated is white noise.
            let not_told = match model.recorded {
                true => None,
                false => Some(self.measure(&file, records, &["--estimate"])?),
            };
            let kind = match model.recorded {
                true => "recorded noise (em, ma and bw, drift taken off)",
                false => "white noise",
            };
            let _ = writeln!(
                page,
                "\n## {kind}: {} atoms, windows of {} every {}, {bytes} bytes{}\n",
                model.code_dim,
                model.window,
                model.hop,
                self.training(model.name)
            );
            page += &table(&told, not_told.as_deref());
        }
        Ok(page)
    }

    /// Trains and exports what is not there yet, and measures each file on the later part of its
    /// recording in the folder `sensor`: a section of Markdown for each.
    ///
    /// # Errors
    /// If a command fails.
    pub fn own_sections(&self) -> Result<String> {
        let parts = self.folder.join("parts");
        std::fs::create_dir_all(&parts)?;
        let mut page = String::new();
        for model in &OWN_MODELS {
            let recording = self.data.join("sensor").join(model.recording);
            parts::cut(&recording, &parts, model.name)?;
            let file = self.trained(model.name, &parts, &model.config())?;
            let test = format!("{}_test.npy", model.name);
            let printed = self.run(&[
                "evaluate",
                text(&file)?,
                "--task",
                "denoise",
                "--data",
                text(&parts)?,
                "--recordings",
                &test,
                "--snr=0,5,10,20,30",
                "--draws",
                "2",
                "--json",
            ])?;
            let rows: Vec<Row> = serde_json::from_str(&printed).context("what evaluate prints")?;
            let bytes = std::fs::metadata(&file)?.len();
            let gram = 2 * model.code_dim * model.code_dim;
            let _ = writeln!(
                page,
                "\n## {}: {} atoms, windows of 64 every {}, {bytes} bytes and {gram} of its Gram \
                 matrix{}\n",
                model.name,
                model.code_dim,
                model.hop,
                self.training(model.name)
            );
            page += &table(&rows, None);
        }
        Ok(page)
    }

    /// Trains and exports what is not there yet, and measures each file on pictures of the folder
    /// `natural` that training never sees: a section of Markdown for each.
    ///
    /// # Errors
    /// If a command fails.
    pub fn picture_sections(&self) -> Result<String> {
        let folder = self.data.join("natural");
        let mut names: Vec<String> = std::fs::read_dir(&folder)?
            .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
            .collect::<Result<_>>()?;
        let is_picture = |name: &str| name.ends_with(".jpg") || name.ends_with(".png");
        names.retain(|name| is_picture(name));
        names.sort();
        let names = names.split_off(names.len().saturating_sub(PICTURES));
        std::fs::create_dir_all(&self.folder)?;
        let mut page = String::new();
        for model in &PICTURE_MODELS {
            let file = self.trained(model.name, &folder, &model.config(&names))?;
            let bytes = std::fs::metadata(&file)?.len();
            let shown = self.folder.join(format!("{}-pictures", model.name));
            let named = names.join(",");
            let printed = self.run(&[
                "evaluate",
                text(&file)?,
                "--task",
                "denoise",
                "--data",
                text(&folder)?,
                "--recordings",
                &named,
                "--middle",
                "256",
                "--pictures",
                text(&shown)?,
                "--json",
            ])?;
            let rows: Vec<PictureRow> =
                serde_json::from_str(&printed).context("what evaluate prints")?;
            let _ = writeln!(
                page,
                "\n## Pictures: {} atoms, patches of {side}x{side} every {}, {bytes} bytes{}\n",
                model.code_dim,
                model.hop,
                self.training(model.name),
                side = model.side,
            );
            page += &picture_table(&rows);
        }
        Ok(page)
    }

    /// Figures of a file: a row for each record and level, and for their means.
    fn measure(&self, file: &Path, records: &[String], more: &[&str]) -> Result<Vec<Row>> {
        let list = |kind: &str| {
            let names = records.iter().map(|name| format!("{kind}_{name}.npy"));
            names.collect::<Vec<_>>().join(",")
        };
        let data = self.data.join("sensor2");
        let (ecg, beats) = (list("ecg"), list("beats"));
        let fixed = [
            "evaluate",
            text(file)?,
            "--task",
            "denoise",
            "--data",
            text(&data)?,
            "--recordings",
            &ecg,
            "--beats",
            &beats,
            "--snr=-5,0,5,10,20,30",
            "--draws",
            "4",
            "--json",
        ];
        let printed = self.run(&[&fixed, more].concat())?;
        serde_json::from_str(&printed).context("what evaluate prints")
    }
}

/// A table of means, and PSNR by picture.
fn picture_table(rows: &[PictureRow]) -> String {
    let mut text = String::from(
        "| σ | noisy PSNR | PSNR | atoms | seconds | by picture |\n|--:|--:|--:|--:|--:|---|\n",
    );
    for mean in rows.iter().filter(|row| row.picture.is_none()) {
        let own = rows.iter().filter(|row| row.sigma == mean.sigma);
        let pictures: Vec<String> = own
            .filter_map(|row| Some(format!("{}: {:.2}", row.picture.as_ref()?, row.psnr)))
            .collect();
        let _ = writeln!(
            text,
            "| {} | {:.2} dB | {:.2} dB | {:.1} | {:.3} | {} |",
            mean.sigma,
            mean.psnr_noisy,
            mean.psnr,
            mean.active,
            mean.seconds,
            pictures.join(", ")
        );
    }
    text
}

fn text(path: &Path) -> Result<&str> {
    path.to_str().context("paths here are UTF-8")
}

/// A table of means, and a line for each record.
fn table(told: &[Row], not_told: Option<&[Row]>) -> String {
    let has_beats = told.iter().any(|row| row.f1.is_some());
    let mut headings = vec!["input", "gain"];
    if not_told.is_some() {
        headings.push("not told");
    }
    headings.push("PRD");
    if has_beats {
        headings.extend(["F1", "F1, noisy"]);
    }
    let records = |row: &Row| row.recording.is_some() && row.input == told[0].input;
    let many = told.iter().filter(|row| records(row)).count() > 1;
    if many {
        headings.push("by record");
    }
    let mut text = format!("| {} |\n", headings.join(" | "));
    text += &format!("|{}\n", "---:|".repeat(headings.len()));
    for mean in told.iter().filter(|row| row.recording.is_none()) {
        let same = |row: &&Row| row.input == mean.input;
        let mut cells = vec![format!("{} dB", mean.input), format!("{:.2}", mean.gain)];
        if let Some(rows) = not_told {
            let mut means = rows.iter().filter(|row| row.recording.is_none());
            let gain = means.find(same).map(|row| format!("{:.2}", row.gain));
            cells.push(gain.unwrap_or_default());
        }
        cells.push(format!("{:.1} %", mean.prd));
        if has_beats {
            let share = |f1: Option<f64>| f1.map_or_else(String::new, |f1| format!("{f1:.3}"));
            cells.extend([share(mean.f1), share(mean.f1_noisy)]);
        }
        if many {
            let named = told.iter().filter(same).filter_map(|row| {
                let name = row.recording.as_ref()?.trim_start_matches("ecg_");
                Some(format!("{name}: {:.2}", row.gain))
            });
            cells.push(named.collect::<Vec<_>>().join(", "));
        }
        let _ = writeln!(text, "| {} |", cells.join(" | "));
    }
    text
}
