use std::fmt::Write;
use std::path::Path;

use sparsecode_formats::NumberType;
use sparsecode_trainer::data::Splits;
use sparsecode_trainer::data::npy::write_npy_f32;

use super::{File, load, wave};

const TABLE: &str = "source = \"signal\"\nwindow = 10\nhop = 5";

/// Recordings of 100 samples: number i holds 1000 i + 0…99 in its column x.
fn recordings(count: usize) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for index in 0..count {
        recording(
            &folder.path().join(format!("{index}.csv")),
            "x",
            index,
            500.0,
        );
    }
    folder
}

fn recording(path: &Path, name: &str, index: usize, rate: f64) {
    let mut text = format!("time (s),{name}\n");
    for row in 0..100 {
        writeln!(
            text,
            "{:.4},{}",
            row as f64 / rate,
            1000 * index + 37 * row % 100
        )
        .unwrap();
    }
    std::fs::write(path, text).unwrap();
}

/// The raw windows of a part.
fn windows(splits: &Splits, part: usize) -> Vec<Vec<f32>> {
    let data = [&splits.train, &splits.validation, &splits.test][part];
    (0..data.len())
        .map(|index| {
            let mut window = data.sample(index).to_vec();
            data.restore.restore(index, &mut window);
            window
        })
        .collect()
}

#[test]
fn several_recordings_are_split_by_file() {
    let folder = recordings(10);
    std::fs::write(folder.path().join("README.txt"), "no data").unwrap();
    std::fs::create_dir(folder.path().join("old")).unwrap();
    let table = format!("{TABLE}\ncolumn = \"x\"");
    let splits = load(&table, Some(folder.path())).unwrap();
    let mut of_part = Vec::new();
    for (part, files) in [(0, 6), (1, 2), (2, 2)] {
        let windows = windows(&splits, part);
        assert_eq!(windows.len(), files * 19);
        let mut seen: Vec<i32> = windows
            .iter()
            .map(|window| {
                // All samples of a window are of one recording.
                let number = |v: &f32| (v / 1000.0 + 0.001).floor() as i32;
                assert!(
                    window.iter().all(|v| number(v) == number(&window[0])),
                    "{window:?}"
                );
                number(&window[0])
            })
            .collect();
        seen.dedup();
        assert_eq!(seen.len(), files);
        of_part.extend(seen);
    }
    of_part.sort_unstable();
    assert_eq!(of_part, (0..10).collect::<Vec<_>>());
    assert!(
        splits
            .description
            .contains("6/2/2 files by random split of seed 7"),
        "{}",
        splits.description
    );
    assert_eq!(splits.input.sample_rate, Some(500.0));
    assert_eq!(splits.input.number_type, Some(NumberType::Text));
    assert!(
        splits
            .read
            .contains("column x (of time (s), x), 10 recordings with 1000 samples in all"),
        "{}",
        splits.read
    );
    assert_eq!(splits.notes.len(), 1);
    assert!(
        splits.notes[0].contains("passed over README.txt, old"),
        "{:?}",
        splits.notes
    );
    // The same again, whatever names the files.
    let paths: Vec<String> = (0..10).map(|i| format!("\"{i}.csv\"")).collect();
    let named = format!("{table}\npath = [{}]", paths.join(", "));
    let again = load(&named, Some(folder.path())).unwrap();
    assert_eq!(again.train.samples, splits.train.samples);
    let place = format!("{table}\npath = \"{}\"", folder.path().display());
    assert_eq!(
        load(&place, None).unwrap().train.samples,
        splits.train.samples
    );
    // At most so many windows, of all files.
    let few = load(&format!("{table}\ntrain = 12"), Some(folder.path())).unwrap();
    let mut starts: Vec<i32> = windows(&few, 0)
        .iter()
        .map(|w| (w[0] / 1000.0) as i32)
        .collect();
    assert_eq!(starts.len(), 12);
    starts.dedup();
    assert_eq!(starts.len(), 6);
}

#[test]
fn one_recording_is_split_by_time_wherever_it_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("one.npy");
    write_npy_f32(&path, &[500], &wave(500)).unwrap();
    let by_folder = load(TABLE, Some(folder.path())).unwrap();
    let by_file = load(TABLE, Some(&path)).unwrap();
    assert!(by_file.description.contains("split by time, 59/19/19"));
    assert_eq!(by_folder.description, by_file.description);
    assert_eq!(by_folder.train.samples, by_file.train.samples);
}

#[test]
fn recordings_that_do_not_go_together_are_refused() {
    let refused = |folder: &Path, more: &str| {
        let table = format!("{TABLE}\n{more}");
        load(&table, Some(folder)).unwrap_err().to_string()
    };
    let folder = recordings(4);
    let error = refused(folder.path(), "");
    assert!(
        error.contains("0.csv has 2 columns") && error.contains("data.column=x"),
        "{error}"
    );
    recording(&folder.path().join("z.csv"), "x", 5, 250.0);
    let error = refused(folder.path(), "column = \"x\"");
    assert!(
        error.contains("z.csv: says 250 samples per second"),
        "{error}"
    );
    assert!(error.contains("0.csv says 500"), "{error}");
    recording(&folder.path().join("z.csv"), "temperature", 5, 500.0);
    let error = refused(folder.path(), "column = 1");
    assert!(
        error.contains("z.csv: its column is \"temperature\""),
        "{error}"
    );
    let error = refused(folder.path(), "column = \"x\"");
    assert!(error.contains("z.csv has no column x"), "{error}");
    std::fs::write(folder.path().join("z.csv"), "x\n1.5\n2\n1\n").unwrap();
    let error = refused(folder.path(), "column = \"x\"\nsample_rate = 500");
    assert!(error.contains("z.csv"), "{error}");
    let two = recordings(2);
    let error = refused(two.path(), "column = \"x\"");
    assert!(error.contains("2 recordings cannot be split"), "{error}");
    let error = refused(&two.path().join("none.csv"), "");
    assert!(
        error.contains("none.csv: there is no such file or folder"),
        "{error}"
    );
    let empty = tempfile::tempdir().unwrap();
    let error = refused(empty.path(), "");
    assert!(
        error.contains("no file in this folder ends in .npy, .csv, .tsv or .wav"),
        "{error}"
    );
    let error = load(TABLE, None).unwrap_err().to_string();
    assert!(error.contains("data.path: no file named"), "{error}");
}

#[test]
fn what_the_table_says_of_a_file_is_used() {
    let file = File::new("x.csv", {
        let mut text = String::new();
        for (index, value) in wave(500).iter().enumerate() {
            writeln!(text, "{},{}", index % 7, (value.abs() * 1000.0) as u32).unwrap();
        }
        text
    });
    let load = |more: &str| load(&format!("{TABLE}\n{more}"), Some(&file.path));
    let error = load("").unwrap_err().to_string();
    assert!(error.contains("data.decimal"), "{error}");
    assert!(load("decimal = \"comma\"").unwrap().peak < 8.0);
    assert!(load("decimal = \"point\"\ncolumn = 1").unwrap().peak > 1000.0);
    // A rate that contradicts the file is told.
    let timed = File::new("x.csv", "");
    recording(&timed.path, "x", 0, 500.0);
    let table = format!("{TABLE}\ncolumn = \"x\"\nsample_rate = 400");
    let splits = super::load(&table, Some(&timed.path)).unwrap();
    assert_eq!(splits.input.sample_rate, Some(400.0));
    assert!(
        splits.notes[0].contains("the file says 500"),
        "{:?}",
        splits.notes
    );
}

#[test]
fn messages_read_like_a_persons() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("m.npy");
    write_npy_f32(&file, &[4], &[1.0, 2.0, 0.0, 5.0]).unwrap();
    for (table, place, needle) in [
        (
            "source = \"mnist\"",
            &file,
            "m.npy: this is a file, but MNIST",
        ),
        (
            "source = \"images\"",
            &file,
            "m.npy: this is a file, but images",
        ),
        (
            "source = \"mnist\"",
            &folder.path().join("none"),
            "none: there is no such folder",
        ),
        (
            "source = \"images\"",
            &folder.path().to_path_buf(),
            "there are no images in it",
        ),
        (
            "source = \"npy\"",
            &folder.path().join("n.npy"),
            "there is no such file or folder",
        ),
    ] {
        let error = load(table, Some(place)).unwrap_err().to_string();
        assert!(error.contains(needle), "{error}");
        assert!(error.contains("--data"), "{error}");
    }
}

#[cfg(unix)]
#[test]
fn the_same_recording_by_another_spelling_is_refused() {
    let folder = recordings(2);
    let first = std::fs::read_dir(folder.path())
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    let name = first.file_name().unwrap().to_str().unwrap();
    let link = folder.path().join("link.csv");
    std::os::unix::fs::symlink(&first, &link).unwrap();
    let place = folder.path().display();
    let own = folder.path().file_name().unwrap().to_str().unwrap();
    for other in [
        format!("{place}/../{own}/{name}"),
        format!("{place}/link.csv"),
    ] {
        let table = format!(
            "source = \"signal\"\npath = [\"{}\", \"{other}\"]",
            first.display()
        );
        let error = load(&table, None).unwrap_err().to_string();
        assert!(
            error.contains("are the same file") && error.contains(name) && error.contains(&other),
            "{error}"
        );
    }
}
