//! `evaluate` of a model file on a person's data: what a maintenance engineer plots.

use super::units::model_of;
use super::*;

/// A machine's vibration of two tones with a little noise; a fault adds an impact every 100
/// samples.
fn vibration(count: usize, faulty: bool) -> Vec<f32> {
    let mut state = 1_u32;
    (0..count)
        .map(|i| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let noise = 0.05 * ((state >> 8) as f32 / 8_388_608.0 - 1.0);
            let since = (i % 100) as f32;
            let impact = if faulty {
                (-0.1 * since).exp() * (1.9 * since).cos()
            } else {
                0.0
            };
            (0.2 * i as f32).sin() + 0.5 * (0.07 * i as f32).cos() + noise + 3.0 * impact
        })
        .collect()
}

fn save_table(path: &Path, values: &[f32]) {
    let rows = values.iter().enumerate();
    let lines: String = rows
        .map(|(i, x)| format!("{:.6},{x}\n", i as f64 / 1000.0))
        .collect();
    std::fs::write(path, format!("time,accel\n{lines}")).unwrap();
}

#[test]
fn healthy_and_faulty_machines_differ() {
    let folder = TempDir::new().unwrap();
    let path = |name: &str| folder.path().join(name);
    std::fs::create_dir(path("data")).unwrap();
    let train = vibration(6000, false);
    save_table(&path("train.csv"), &train);
    save_table(&path("data/a-healthy.csv"), &vibration(1500, false));
    save_table(&path("data/b-faulty.csv"), &vibration(1500, true));
    std::fs::write(path("data/notes.md"), "not data").unwrap();
    let column = ["--set", "data.column=accel", "--epochs", "5"];
    let model = model_of(folder.path(), "signal", &path("train.csv"), &column);
    let (healthy, faulty) = (path("data/a-healthy.csv"), path("data/b-faulty.csv"));
    let evaluate = |data: &Path, more: &[&str]| {
        let fixed = [
            "evaluate",
            text(&model),
            "--data",
            text(data),
            "--column",
            "accel",
            "--json",
        ];
        json(&[&fixed, more].concat())
    };
    let refine = ["--refine", "50"];
    let figure = |report: &serde_json::Value, key: &str| report[key].as_f64().unwrap();
    let one = evaluate(&healthy, &refine);
    let other = evaluate(&faulty, &refine);
    for key in ["residual_rms", "energy"] {
        let (healthy, faulty) = (figure(&one[0], key), figure(&other[0], key));
        assert!(faulty > 1.2 * healthy, "{key}: {healthy} {faulty}");
    }

    // A folder, with noise, and the windows as a table.
    let windows = path("windows.csv");
    let more = [
        "--refine",
        "50",
        "--noise",
        "0.5,1",
        "--windows",
        text(&windows),
    ];
    let all = evaluate(&path("data"), &more);
    let rows = all.as_array().unwrap();
    assert_eq!(rows.len(), 6);
    assert_eq!((&rows[0], &rows[3]), (&one[0], &other[0]));
    for (row, sigma) in rows.iter().zip([0.0, 0.5, 1.0].into_iter().cycle()) {
        assert_eq!(row["noise"].as_f64().unwrap_or(0.0), sigma);
        assert_eq!(row["psnr_input"].is_null(), sigma == 0.0);
    }
    let report = json(&["inspect", text(&model), "--json"]);
    // The noise has the deviation that was asked for, in preprocessed units.
    let raw = figure(&report["preprocessing"], "deviation");
    let expected = 20.0 * (figure(&report, "peak") / raw).log10();
    assert!(
        (figure(&rows[2], "psnr_input") - expected).abs() < 0.5,
        "{expected} {}",
        rows[2]
    );

    let table = std::fs::read_to_string(&windows).unwrap();
    let mut lines = table.lines();
    let names =
        "file,channel,start_sample,start_second,residual_rms,energy,active_atoms,zeros_percent";
    assert_eq!(lines.next(), Some(names));
    let numbers: Vec<Vec<f64>> = lines
        .map(|line| {
            assert!(line.contains("data/") && line.contains(",accel,"), "{line}");
            line.split(',')
                .skip(2)
                .map(|field| field.parse().unwrap())
                .collect()
        })
        .collect();
    let width = report["input_dim"].as_u64().unwrap();
    let hop = width.div_ceil(4);
    let count = ((1500 - width).div_ceil(hop) + 1) as usize;
    assert_eq!(
        (numbers.len(), one[0]["windows"].as_u64()),
        (2 * count, Some(count as u64))
    );
    for (row, part) in [&one[0], &other[0]].into_iter().zip(numbers.chunks(count)) {
        let mean = |of: &dyn Fn(&[f64]) -> f64| {
            part.iter().map(|line| of(line)).sum::<f64>() / count as f64
        };
        let close = |found: f64, key: &str| {
            let expected = figure(row, key);
            assert!(
                (found - expected).abs() <= 1e-6 * expected.abs(),
                "{key}: {found} {expected}"
            );
        };
        close(mean(&|line| line[2] * line[2]).sqrt(), "residual_rms");
        close(mean(&|line| line[3]), "energy");
        close(mean(&|line| line[5]) / 100.0, "sparsity");
        let codes = report["code_dim"].as_f64().unwrap();
        for (index, line) in part.iter().enumerate() {
            let start = (index as u64 * hop).min(1500 - width) as f64;
            assert_eq!(line[0], start);
            assert!((line[1] - start / 1000.0).abs() < 1e-6, "{line:?}");
            assert!(
                (100.0 * (1.0 - line[4] / codes) - line[5]).abs() < 1e-9,
                "{line:?}"
            );
        }
    }

    let fixed = ["evaluate", text(&model)];
    refused(2, &fixed, &["--data"]);
    let with = |more: &[&'static str]| [&fixed[..], &["--data", text(&healthy)], more].concat();
    refused(2, &with(&[]), &["accel", "--column"]);
    refused(2, &with(&["--fista"]), &["--refine"]);
    refused(2, &with(&["--split", "train"]), &["--split", "run"]);
    refused(2, &with(&["--device", "cpu"]), &["--device", "run"]);
    refused(
        2,
        &[
            &with(&["--column", "accel", "--windows"])[..],
            &[text(&model)],
        ]
        .concat(),
        &[".csv"],
    );
    let run = path("run");
    refused(
        2,
        &["evaluate", text(&run), "--windows", text(&windows)],
        &["model file"],
    );
}

#[test]
fn pictures_and_arrays_are_measured_patch_by_patch() {
    let folder = TempDir::new().unwrap();
    let path = |name: &str| folder.path().join(name);
    let picture = dead_leaves_image(20, 12, 3);
    let bytes: Vec<u8> = picture.iter().map(|x| (x * 255.0).round() as u8).collect();
    image::GrayImage::from_raw(20, 12, bytes)
        .unwrap()
        .save(path("picture.png"))
        .unwrap();
    write_npy_f32(&path("x.npy"), &[3, 8, 8], &picture[..192]).unwrap();
    let model = Runs::get().path("image-i8.safetensors");
    for (input, names, count) in [("picture.png", "left,top", 7 * 3), ("x.npy", "sample", 3)] {
        let (data, windows) = (path(input), path("w.csv"));
        let said = done(&[
            "evaluate",
            text(&model),
            "--data",
            text(&data),
            "--windows",
            text(&windows),
        ]);
        assert!(
            said.contains("residual rms") && said.contains(input),
            "{said}"
        );
        let table = std::fs::read_to_string(&windows).unwrap();
        assert!(
            table.starts_with(&format!("file,channel,{names},residual_rms")),
            "{table}"
        );
        assert_eq!(table.lines().count(), 1 + count, "{input}");
    }
    let data = path("picture.png");
    let wide = [
        "evaluate",
        text(&model),
        "--data",
        text(&data),
        "--hop",
        "8",
        "--json",
    ];
    assert_eq!(json(&wide)[0]["windows"], 6);
}
