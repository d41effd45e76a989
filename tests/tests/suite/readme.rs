//! The commands that README.md and the pages show, run as they stand, in their order, in one
//! folder.
//!
//! Nothing in a line is replaced: `DIR`, `IMAGES`, `bearing.csv` and the other names are files and
//! folders of those names, made up here. What is too long for a test is recognised, and checked in
//! another way. A line that the test does not know fails it.
//!
//! The links between the pages, and the names that docs/method.md gives the paper's symbols.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use sparsecode_tests::{program, workspace};
use sparsecode_trainer::data::npy::write_npy_f32;
use sparsecode_trainer::data::{dead_leaves_image, ecg_signal};

/// The pages whose commands follow one another: README first, whose runs the others use.
const PAGES: [&str; 7] = [
    "README.md",
    "CONTRIBUTING.md",
    "docs/your-own-data.md",
    "docs/configuration.md",
    "docs/sweeps.md",
    "docs/embedded.md",
    "firmware-example/README.md",
];

/// Lines that other tests run, and those of other people's programs.
const ELSEWHERE: [(&str, &str); 7] = [
    // The program of this page: `cargo xtask guide`.
    ("docs/embedded.md", "cargo run --release"),
    // The library, and the model file as an array: `cargo xtask capi`.
    ("docs/embedded.md", "RUSTFLAGS="),
    ("docs/embedded.md", "arm-none-eabi-gcc"),
    ("docs/embedded.md", "{"),
    // A real Slurm is among the tests of the program; HyperQueue's lines call `sweep run`.
    ("docs/sweeps.md", "sbatch sweep.sbatch"),
    ("docs/sweeps.md", "hq submit --from-json plan.json"),
    ("docs/sweeps.md", "hq submit --each-line plan.jsonl"),
];

/// The commands in a page's blocks of `sh`: without comments, continued lines and groups in one
/// piece.
fn commands(page: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for rest in page.split("```sh\n").skip(1) {
        let (block, _) = rest.split_once("```").expect("a block that ends");
        let mut open = false;
        for line in block.lines() {
            let line = match line.split_once(" #") {
                _ if line.trim_start().starts_with('#') => "",
                Some((command, _)) if !line.contains("'#") => command,
                _ => line,
            };
            let (line, goes_on) = match line.trim().strip_suffix('\\') {
                Some(line) => (line.trim(), true),
                None => (line.trim(), false),
            };
            match found.last_mut().filter(|_| open) {
                Some(command) => {
                    let group = command.starts_with('{');
                    command.push_str(if group { "\n" } else { " " });
                    command.push_str(line);
                }
                None if line.is_empty() => continue,
                None => found.push(line.to_owned()),
            }
            let in_group = found
                .last()
                .is_some_and(|c| c.starts_with('{') && !c.contains("\n}"));
            open = goes_on || in_group;
        }
    }
    found
}

#[test]
fn commands_are_found_as_they_stand() {
    let page = "```sh\nfirst --a 1   # why\n\n# only words\nsecond \\\n  --b 2\n{\n  echo '#x'\n} > y\n```\n```c\nx\n```\n";
    assert_eq!(
        commands(page),
        ["first --a 1", "second --b 2", "{\necho '#x'\n} > y"]
    );
}

#[test]
fn every_command_of_the_pages_does_what_it_says() {
    let folder = tempfile::tempdir().unwrap();
    prepare(folder.path());
    for page in PAGES {
        let path = workspace().join(page);
        let Ok(text) = fs::read_to_string(&path) else {
            panic!("{} is not there", path.display());
        };
        let commands = commands(&text);
        assert!(!commands.is_empty(), "{page} has no commands");
        for command in commands {
            check(page, &command, folder.path());
        }
        if page == "README.md" {
            // What the guides call a run and its folder.
            copy(
                &folder.path().join("runs/bearing"),
                &folder.path().join("RUN"),
            );
        }
    }
}

/// Every Markdown file of the repository but those of other people's code.
fn documents(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap().flatten() {
        let (path, name) = (entry.path(), entry.file_name());
        let is_other = matches!(name.to_str(), Some("target" | "shared"));
        if path.is_dir() && !is_other && !name.to_string_lossy().starts_with('.') {
            documents(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "md") {
            found.push(path);
        }
    }
}

/// A page without its blocks of code.
fn prose(page: &str) -> String {
    page.split("\n```").step_by(2).collect()
}

/// The anchors of a page's headings, as GitHub names them.
fn anchors(page: &str) -> Vec<String> {
    let is_kept = |c: &char| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_');
    let text = prose(page);
    let headings = text.lines().filter_map(|line| {
        let title = line.trim_start_matches('#');
        title.strip_prefix(' ').filter(|_| title != line)
    });
    headings
        .map(|title| title.to_lowercase().chars().filter(is_kept).collect())
        .map(|title: String| title.replace(' ', "-"))
        .collect()
}

/// The links of a page that name a file or an anchor of this repository and lead nowhere.
fn lost_links(path: &Path) -> Vec<String> {
    let page = fs::read_to_string(path).unwrap();
    let targets = page
        .split("](")
        .skip(1)
        .filter_map(|rest| rest.split(')').next());
    let leads_nowhere = |target: &&str| {
        let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
        let file = match file {
            "" => path.to_owned(),
            _ => path.parent().unwrap().join(file),
        };
        let has_anchor = || {
            let text = fs::read_to_string(&file).unwrap_or_default();
            anchors(&text).iter().any(|known| known == anchor)
        };
        !file.exists() || (!anchor.is_empty() && !has_anchor())
    };
    targets
        .filter(|target| !target.contains("://") && !target.contains(char::is_whitespace))
        .filter(leads_nowhere)
        .map(|target| format!("{}: {target}", path.display()))
        .collect()
}

#[test]
fn links_between_the_pages_lead_somewhere() {
    let mut pages = Vec::new();
    documents(workspace(), &mut pages);
    assert!(pages.len() > 10, "{pages:?}");
    let lost: Vec<String> = pages.iter().flat_map(|page| lost_links(page)).collect();
    assert!(lost.is_empty(), "{}", lost.join("\n"));
}

#[test]
fn a_link_that_leads_nowhere_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.md");
    let page = "# One: λ, two\n```\n# Code\n```\n[a](#one-λ-two) [b](a.md#one-λ-two)\n\
                [c](https://x.y#z) [d](#code) [e](b.md) [f](a.md#two)\n";
    fs::write(&path, page).unwrap();
    let lost: Vec<String> = ["#code", "b.md", "a.md#two"]
        .iter()
        .map(|target| format!("{}: {target}", path.display()))
        .collect();
    assert_eq!(lost_links(&path), lost);
}

/// All Rust sources below a folder, in one piece.
fn sources(folder: &Path) -> String {
    let entries = fs::read_dir(folder).unwrap().flatten();
    let text = |path: PathBuf| match path.extension() {
        _ if path.is_dir() => sources(&path),
        Some(extension) if extension == "rs" => fs::read_to_string(&path).unwrap(),
        _ => String::new(),
    };
    entries.map(|entry| text(entry.path())).collect()
}

/// The names of a table's second column.
fn names(table: &str) -> Vec<&str> {
    let columns = table.lines().filter_map(|line| line.split('|').nth(2));
    columns
        .flat_map(|column| column.split('`').skip(1).step_by(2))
        .collect()
}

#[test]
fn names_of_the_papers_symbols_are_those_of_the_source() {
    let page = fs::read_to_string(workspace().join("docs/method.md")).unwrap();
    let (_, rest) = page.split_once("\n## Names\n").expect("a table of names");
    let names = names(rest.split("\n## ").next().unwrap());
    assert!(names.len() > 20, "{names:?}");
    let trainer = sources(&workspace().join("trainer/src"));
    let formats = sources(&workspace().join("formats/src"));
    for name in names {
        if name.contains('.') {
            // A tensor, in runs and in model files.
            let quoted = format!("\"{name}\"");
            assert!(trainer.contains(&quoted), "{name} in trainer/src");
            assert!(formats.contains(&quoted), "{name} in formats/src");
        } else {
            // A field or an argument.
            assert!(trainer.contains(&format!("{name}: ")), "{name}");
        }
    }
}

/// Runs a command, or checks it in another way.
fn check(page: &str, command: &str, folder: &Path) {
    if ELSEWHERE
        .iter()
        .any(|(of, start)| page == *of && command.starts_with(start))
    {
        return;
    }
    let words: Vec<&str> = command.split_whitespace().collect();
    match words[..] {
        ["sparsecode", "sweep", "plan", _, "--output", plan] => {
            run(page, command, folder);
            cut_plan(page, plan, folder);
        }
        ["sparsecode", "train", ..] => run(page, &shortened(command), folder),
        ["sparsecode", ..] => run(page, command, folder),
        // The workspace's own: what they build is what this test runs, or is one of those that run
        // now.
        ["cargo", "install", .., "--path", "trainer"] => {
            let manifest = fs::read_to_string(workspace().join("trainer/Cargo.toml")).unwrap();
            assert!(
                manifest.contains("name = \"sparsecode\""),
                "{page}: {command}"
            );
        }
        ["cargo", "test", "--workspace"] => (),
        // `quickstart` on smaller data is a test of the program.
        ["cargo", "run", "--release", "--", "quickstart", ..] => {
            let flags = words[5..].iter().filter(|word| word.starts_with("--"));
            offers(page, Command::new(program()), &["quickstart"], flags);
        }
        // That xtask understands them is one of its own tests.
        ["cargo", "xtask", ..] => (),
        ["rustup", "target", "add", ref targets @ ..] => {
            let output = Command::new("rustc")
                .args(["--print", "target-list"])
                .output();
            let output = output.expect("rustc");
            let list = String::from_utf8_lossy(&output.stdout);
            for target in targets {
                assert!(
                    list.lines().any(|known| known == *target),
                    "{page}: {target}"
                );
            }
        }
        _ => panic!("{page}: this test does not know the command: {command}"),
    }
}

/// Whether a command's help has these flags.
fn offers<'a>(
    page: &str,
    mut program: Command,
    command: &[&str],
    flags: impl Iterator<Item = &'a &'a str>,
) {
    let output = program.args(command).arg("--help").output().unwrap();
    let help = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{page}: {command:?}");
    for flag in flags {
        assert!(help.contains(*flag), "{page}: {command:?} has no {flag}");
    }
}

/// The program, called `sparsecode`, with nothing of the environment of whoever runs the tests.
fn shell(command: &str, folder: &Path) -> Output {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders = vec![folder.join("bin")];
    folders.extend(std::env::split_paths(&path));
    Command::new("sh")
        .args(["-ec", command])
        .current_dir(folder)
        .env("PATH", std::env::join_paths(folders).unwrap())
        .env_remove("SPARSECODE_DATA")
        .output()
        .unwrap()
}

fn run(page: &str, command: &str, folder: &Path) {
    let output = shell(command, folder);
    assert_eq!(
        output.status.code(),
        Some(0),
        "{page}: {command}\n{}\n{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

/// A training that ends soon: one epoch where the line says nothing of epochs, and less of what is
/// generated or cut out of pictures.
fn shortened(command: &str) -> String {
    let mut command = command.to_owned();
    if command.contains("--epochs") {
        return command;
    }
    command.push_str(" --epochs 1");
    let pictures = command.contains("IMAGES") || command.contains("PICTURES");
    if pictures || !command.contains("data") {
        for part in ["train=1000", "validation=200", "test=200"] {
            command.push_str(&format!(" --set data.{part}"));
        }
    }
    command
}

/// Checks that a plan of many runs has as many as the page says, and writes one of two short runs
/// over it.
fn cut_plan(page: &str, plan: &str, folder: &Path) {
    let planned = fs::read_to_string(folder.join(plan))
        .unwrap()
        .lines()
        .count();
    if planned <= 2 {
        return;
    }
    let text = fs::read_to_string(workspace().join(page)).unwrap();
    let said = format!("{planned} configurations");
    assert!(text.contains(&said), "{page}: {plan} has {planned} runs");
    run(
        page,
        &format!("sparsecode sweep plan grid.toml --output {plan}"),
        folder,
    );
}

/// The files that the lines name.
fn prepare(folder: &Path) {
    fs::create_dir(folder.join("bin")).unwrap();
    symlink(program(), folder.join("bin/sparsecode")).unwrap();
    symlink(workspace().join("examples"), folder.join("examples")).unwrap();

    for (digits, sizes) in [("DIR", [600, 100]), ("FASHION", [300, 20])] {
        let digits = folder.join(digits);
        fs::create_dir(&digits).unwrap();
        for (name, count) in ["train", "t10k"].into_iter().zip(sizes) {
            write_digits(&digits, name, count);
        }
    }
    for pictures in ["IMAGES", "PICTURES", "photographs"] {
        let pictures = folder.join(pictures);
        fs::create_dir(&pictures).unwrap();
        for seed in 0..6 {
            let pixels = dead_leaves_image(96, 64, seed);
            let grey = pixels.iter().map(|x| (255.0 * x) as u8).collect();
            let picture = image::GrayImage::from_raw(96, 64, grey).unwrap();
            picture.save(pictures.join(format!("{seed}.png"))).unwrap();
        }
    }
    let noisy = folder.join("photographs/0.png");
    fs::copy(noisy, folder.join("noisy.png")).unwrap();
    for (index, name) in ["bearing", "noisy", "other", "healthy", "faulty"]
        .iter()
        .enumerate()
    {
        let table: String = vibration(20_000, index as u32)
            .iter()
            .enumerate()
            .map(|(i, x)| format!("{:.6},{x:.6}\n", i as f64 / 12000.0))
            .collect();
        let path = folder.join(format!("{name}.csv"));
        fs::write(path, format!("time,accel\n{table}")).unwrap();
    }
    fs::create_dir(folder.join("RECORDINGS")).unwrap();
    for (index, name) in [
        "holter",
        "monday",
        "tuesday",
        "wednesday",
        "RECORDINGS/a",
        "RECORDINGS/b",
        "RECORDINGS/c",
        "RECORDINGS/d",
        "clean",
        "noisy",
    ]
    .iter()
    .enumerate()
    {
        let path = folder.join(format!("{name}.wav"));
        fs::write(path, wav(&ecg_signal(20_000, index as u64), 360)).unwrap();
    }
    let rows = |name: &str, values: &[f32]| {
        let shape = [values.len() / 64, 64];
        write_npy_f32(&folder.join(name), &shape, values).unwrap();
    };
    rows("windows.npy", &vibration(100 * 64, 9));
    rows("components.npy", &vibration(80 * 64, 10));
    rows("patches.npy", &dead_leaves_image(640, 64, 9));

    let grid = "epochs = 1\nseed = [1, 2]\npreset = \"mnist/sdl\"\n[[grid]]\nbatch_size = 50\n";
    fs::write(folder.join("grid.toml"), grid).unwrap();
}

/// A number from 0 to 1 without a pattern.
fn noise(index: u32, seed: u32) -> f32 {
    let mut x = index.wrapping_mul(0x9e37_79b9) ^ seed.wrapping_mul(0x85eb_ca6b);
    x = (x ^ x >> 16).wrapping_mul(0x7feb_352d);
    x = (x ^ x >> 15).wrapping_mul(0x846c_a68b);
    (x ^ x >> 16) as f32 / u32::MAX as f32
}

/// A machine with a worn bearing: tones, noise, and an impact that rings, 30 times a second.
fn vibration(samples: usize, seed: u32) -> Vec<f32> {
    let ring = |i: usize| {
        let since = (i % 400) as f32;
        (-since / 40.0).exp() * (since * 1.3).sin()
    };
    (0..samples)
        .map(|i| {
            let tone = (i as f32 * 0.031).sin() + 0.5 * (i as f32 * 0.047).sin();
            0.3 * tone + ring(i) + 0.1 * noise(i as u32, seed)
        })
        .collect()
}

/// MNIST's idx files, with a few strokes in place of digits.
fn write_digits(folder: &Path, name: &str, count: u32) {
    let axis = |length: u32| length.to_be_bytes();
    let mut images = [&[0, 0, 8, 3][..], &axis(count), &axis(28), &axis(28)].concat();
    for digit in 0..count {
        let mut pixels = [0_u8; 784];
        for stroke in 0..3 {
            let of =
                |what: u32, most: f32| (most * noise(9 * digit + 3 * stroke + what, 1)) as usize;
            let (row, column, down) = (of(0, 18.0), of(1, 18.0), of(2, 2.0) == 1);
            for step in 0..10 {
                let (row, column) = match down {
                    true => (row + step, column),
                    false => (row, column + step),
                };
                pixels[28 * row + column] = 255;
                pixels[28 * row + column + 1] = 160;
            }
        }
        images.extend(pixels);
    }
    let labels: Vec<u8> = (0..count).map(|digit| (digit % 10) as u8).collect();
    let labels = [&[0, 0, 8, 1][..], &axis(count), &labels].concat();
    fs::write(folder.join(format!("{name}-images-idx3-ubyte")), images).unwrap();
    fs::write(folder.join(format!("{name}-labels-idx1-ubyte")), labels).unwrap();
}

/// A WAV file of 16 bits, one channel.
fn wav(samples: &[f32], rate: u32) -> Vec<u8> {
    let most = samples.iter().fold(1e-9_f32, |most, x| most.max(x.abs()));
    let data: Vec<u8> = samples
        .iter()
        .flat_map(|x| ((x / most * 30000.0) as i16).to_le_bytes())
        .collect();
    let length = data.len() as u32;
    [
        &b"RIFF"[..],
        &(36 + length).to_le_bytes(),
        b"WAVEfmt ",
        &16_u32.to_le_bytes(),
        &1_u16.to_le_bytes(),
        &1_u16.to_le_bytes(),
        &rate.to_le_bytes(),
        &(2 * rate).to_le_bytes(),
        &2_u16.to_le_bytes(),
        &16_u16.to_le_bytes(),
        b"data",
        &length.to_le_bytes(),
        &data,
    ]
    .concat()
}

fn copy(from: &Path, to: &PathBuf) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap().flatten() {
        if entry.path().is_file() {
            fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
}
