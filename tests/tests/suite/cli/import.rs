//! Dictionaries made elsewhere, and encoders learnt for them.

use super::*;

/// 20 atoms of 16 numbers, by rows, of other norms than 1.
fn atoms() -> Vec<f32> {
    (0..20 * 16)
        .map(|i| ((i * 37) % 101) as f32 / 50.0 - 1.0)
        .collect()
}

fn by_columns(rows: &[f32]) -> Vec<f32> {
    (0..16)
        .flat_map(|i| (0..20).map(move |j| rows[j * 16 + i]))
        .collect()
}

fn dictionary_of(run: &Path) -> Vec<f32> {
    let run = TrainedRun::open(&RunFolder::new(run)).unwrap();
    let (_, dictionary) = run.model.parameters()[0];
    assert_eq!(dictionary.dims(), [16, 20]);
    flat(dictionary)
}

#[test]
fn a_dictionary_is_imported_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let (rows, columns) = (path("rows.npy"), path("columns.npy"));
    let given = atoms();
    write_npy_f32(&rows, &[20, 16], &given).unwrap();
    write_npy_f32(&columns, &[16, 20], &by_columns(&given)).unwrap();
    let import = |file: &Path, out: &Path, more: &[&str]| {
        let arguments = ["import", "--dictionary", text(file), "--output", text(out)];
        [&arguments[..], more].concat().join("\u{1f}")
    };
    let run_it = |line: &str| done(&line.split('\u{1f}').collect::<Vec<_>>());
    for (name, file, more) in [
        ("a", &rows, &["--atoms", "rows", "--lambda", "0.03"][..]),
        ("b", &columns, &["--atoms", "columns", "--lambda", "0.03"]),
        // One way only fits a sample.
        ("c", &rows, &["--input-shape", "4x4", "--lambda", "0.03"]),
        (
            "d",
            &columns,
            &["--input-shape", "16", "--set", "inference.lambda=0.03"],
        ),
    ] {
        let out = path(name);
        let said = run_it(&import(file, &out, more));
        assert!(
            said.contains("20 atoms") && said.contains("λ 0.03"),
            "{said}"
        );
        assert_eq!(dictionary_of(&out), by_columns(&given), "{name}");
    }

    let out = path("facts");
    let stated = [
        "--atoms",
        "rows",
        "--lambda",
        "0.05",
        "--mean",
        "-2.5",
        "--deviation",
        "0.5",
        "--peak",
        "255",
        "--contrast",
        "remove-mean",
        "--input-shape",
        "4x4",
    ];
    run_it(&import(&rows, &out, &stated));
    let model = path("facts.safetensors");
    done(&[
        "export",
        text(&out),
        "--weights",
        "f32",
        "--output",
        text(&model),
    ]);
    let found = json(&["inspect", text(&model), "--json"]);
    let bytes = AlignedBytes::from_slice(&std::fs::read(&model).unwrap());
    let file = ModelFile::read(&bytes).unwrap();
    let spec = file.spec;
    assert_eq!(
        (spec.preprocessing.mean, spec.preprocessing.deviation),
        (-2.5, 0.5)
    );
    assert_eq!(spec.preprocessing.contrast, Contrast::RemoveMean);
    assert_eq!((spec.peak, spec.lambda), (255.0, 0.05));
    assert_eq!(spec.input_shape.to_string(), "4x4");
    assert_eq!(spec.provenance.data, "imported dictionary rows.npy");
    assert_eq!(
        (spec.provenance.epoch, found["code_dim"].as_u64()),
        (0, Some(20))
    );

    // Codes of the exported file have no more energy than ISTA's in plain loops.
    let samples: Vec<f32> = (0..3 * 16)
        .map(|i| ((i * 29) % 17) as f32 / 8.0 - 1.0)
        .collect();
    write_npy_f32(&path("x.npy"), &[3, 4, 4], &samples).unwrap();
    let model = path("a.safetensors");
    done(&[
        "export",
        text(&path("a")),
        "--weights",
        "f32",
        "--output",
        text(&model),
    ]);
    let input = path("x16.npy");
    write_npy_f32(&input, &[3, 16], &samples).unwrap();
    let codes = path("z.npy");
    done(&[
        "encode",
        text(&model),
        "--input",
        text(&input),
        "--output",
        text(&codes),
    ]);
    let (shape, codes) = read_npy_f32(&codes).unwrap();
    assert_eq!(shape, [3, 20]);
    let energy = |z: &[f64], y: &[f32]| -> f64 {
        let error: f64 = (0..16)
            .map(|i| {
                let made: f64 = (0..20).map(|j| f64::from(given[j * 16 + i]) * z[j]).sum();
                (made - f64::from(y[i])).powi(2)
            })
            .sum();
        error / 16.0 + 0.03 * z.iter().sum::<f64>()
    };
    for (z, y) in codes.chunks(20).zip(samples.chunks(16)) {
        let z: Vec<f64> = z.iter().map(|&z| f64::from(z)).collect();
        assert!(z.iter().all(|z| *z >= 0.0) && z.iter().any(|z| *z > 0.0));
        let mut ista = vec![0.0f64; 20];
        for _ in 0..20_000 {
            let error: Vec<f64> = (0..16)
                .map(|i| {
                    let made: f64 = (0..20)
                        .map(|j| f64::from(given[j * 16 + i]) * ista[j])
                        .sum();
                    made - f64::from(y[i])
                })
                .collect();
            for (j, z) in ista.iter_mut().enumerate() {
                let slope: f64 = (0..16)
                    .map(|i| f64::from(given[j * 16 + i]) * error[i])
                    .sum();
                *z = (*z - 0.05 * (slope / 8.0 + 0.03)).max(0.0);
            }
        }
        let (found, lowest) = (energy(&z, y), energy(&ista, y));
        assert!(found < lowest * 1.02 + 1e-6, "{found} {lowest}");
    }
}

#[test]
fn dictionaries_that_cannot_be_meant_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let out = path("never");
    let file = path("D.npy");
    let refuse = |status: i32, shape: &[usize], values: &[f32], more: &[&str], words: &[&str]| {
        write_npy_f32(&file, shape, values).unwrap();
        let arguments = [
            "import",
            "--dictionary",
            text(&file),
            "--output",
            text(&out),
        ];
        refused(status, &[&arguments[..], more].concat(), words);
        assert!(!out.exists());
    };
    let given = atoms();
    let lambda = ["--lambda", "0.1"];
    // Nothing tells, or both fit.
    refuse(
        2,
        &[20, 16],
        &given,
        &lambda,
        &["D.npy", "20 rows and 16 columns", "--atoms"],
    );
    let square = [&["--input-shape", "16"][..], &lambda].concat();
    refuse(2, &[16, 16], &given[..256], &square, &["--atoms"]);
    // What is said does not fit.
    let wrong = [&["--atoms", "columns", "--input-shape", "16"][..], &lambda].concat();
    refuse(
        2,
        &[20, 16],
        &given,
        &wrong,
        &["columns", "20 numbers", "16"],
    );
    let neither = [&["--input-shape", "5x5"][..], &lambda].concat();
    refuse(1, &[20, 16], &given, &neither, &["25"]);
    let rows = [&["--atoms", "rows"][..], &lambda].concat();
    refuse(1, &[320], &given, &rows, &["shape", "matrix"]);
    refuse(1, &[0, 16], &[], &rows, &["shape"]);
    let mut broken = given.clone();
    broken[35] = f32::NAN;
    refuse(1, &[20, 16], &broken, &rows, &["atom 2, value 3", "finite"]);
    refuse(1, &[20, 16], &[0.0; 320], &rows, &["all atoms are zero"]);
    // λ, and what would make it another model.
    refuse(
        2,
        &[20, 16],
        &given,
        &["--atoms", "rows"],
        &["--lambda", "2 alpha / d"],
    );
    for (more, word) in [
        (&["--deviation", "0"][..], "--deviation 0"),
        (&["--mean", "nan"], "--mean"),
        (&["--peak", "-1"], "--peak"),
        (&["--contrast", "much"], "--contrast much"),
        (&["--set", "model.code_dim=3"], "model"),
        (&["--set", "variant=sdl"], "variant"),
    ] {
        refuse(2, &[20, 16], &given, &[&rows[..], more].concat(), &[word]);
    }
    // An atom of zeros is kept, and told.
    let mut zero = given;
    zero[16..32].fill(0.0);
    write_npy_f32(&file, &[20, 16], &zero).unwrap();
    let arguments = [
        "import",
        "--dictionary",
        text(&file),
        "--output",
        text(&out),
    ];
    let output = run(&[&arguments[..], &rows].concat());
    assert!(output.status.success());
    assert!(
        stderr(&output).contains("always 0: 1\n"),
        "{}",
        stderr(&output)
    );
    refused(
        2,
        &[&arguments[..], &rows].concat(),
        &["already holds a run"],
    );
}

/// The way of a person with a dictionary and a recording: units measured, an encoder learnt in
/// them, exported.
#[test]
fn an_encoder_is_learnt_for_a_dictionary() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let (file, recording) = (path("D.npy"), path("ecg.npy"));
    write_npy_f32(&file, &[20, 16], &atoms()).unwrap();
    let signal: Vec<f32> = ecg_signal(4000, 3).iter().map(|v| 5.0 * v + 2.0).collect();
    write_npy_f32(&recording, &[4000], &signal).unwrap();
    let dictionary = path("dictionary");
    let data = ["--data", text(&recording)];
    let import = [
        "import",
        "--dictionary",
        text(&file),
        "--atoms",
        "rows",
        "--lambda",
        "0.02",
        "--output",
    ];
    done(&[&import[..], &[text(&dictionary)], &data].concat());
    let measured = TrainedRun::open(&RunFolder::new(&dictionary)).unwrap();
    assert!(
        measured
            .facts
            .description
            .contains("imported dictionary D.npy, units of ecg.npy")
    );
    assert!(
        (1.0..5.0).contains(&measured.facts.mean),
        "{}",
        measured.facts.mean
    );

    // In other units than the recording's own, which the encoder has to keep to.
    let scaled = path("scaled");
    let units = ["--mean", "1.5", "--deviation", "2"];
    done(&[&import[..], &[text(&scaled)], &units].concat());
    let encoder = path("encoder");
    let train = [
        "train",
        "--from",
        text(&scaled),
        "--frozen-decoder",
        "--set",
        "batch_size=30",
    ];
    let train = [
        &train[..],
        &["--out", text(&encoder), "--epochs", "3"],
        &data,
    ]
    .concat();
    done(&train);
    let learnt = TrainedRun::open(&RunFolder::new(&encoder)).unwrap();
    assert_eq!((learnt.facts.mean, learnt.facts.deviation), (1.5, 2.0));
    assert_eq!(learnt.config.model_name(), "sdl");
    assert!(learnt.config.family.optimizer.frozen_decoder && learnt.model.encoder.is_some());
    assert_eq!(dictionary_of_encoder(&learnt), by_columns(&atoms()));
    let more = [&train[..], &["--resume", "--epochs", "4"]].concat();
    let more: Vec<&str> = {
        // One --epochs only.
        let at = more.iter().position(|word| *word == "--epochs").unwrap();
        let mut more = more.clone();
        more.drain(at..at + 2);
        more
    };
    done(&more);
    let evaluated = run(&["evaluate", text(&encoder)]);
    assert!(evaluated.status.success(), "{}", stderr(&evaluated));
    assert!(
        !stderr(&evaluated).contains("not the samples"),
        "{}",
        stderr(&evaluated)
    );
    let model = path("encoder.safetensors");
    done(&[
        "export",
        text(&encoder),
        "--weights",
        "i8",
        "--output",
        text(&model),
    ]);
    assert_eq!(
        json(&["inspect", text(&model), "--json"])["lista_iterations"],
        3
    );

    refused(
        2,
        &[
            "train",
            "--preset",
            "ecg/sdl",
            "--frozen-decoder",
            "--out",
            text(&path("never")),
        ],
        &["--frozen-decoder", "--from"],
    );
}

fn dictionary_of_encoder(run: &TrainedRun) -> Vec<f32> {
    let parameters = run.model.parameters();
    let found = parameters
        .iter()
        .find(|(name, _)| *name == "decoder.dictionary");
    flat(found.unwrap().1)
}

/// A short recording takes enough steps where nobody says how many epochs, and config.toml says how
/// many.
#[test]
fn short_recordings_take_enough_steps() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let recording = path("ecg.npy");
    write_npy_f32(&recording, &[1200], &ecg_signal(1200, 3)).unwrap();
    let base = ["train", "--preset", "ecg/vdl", "--data", text(&recording)];
    let small = [
        "--batch-size",
        "20",
        "--code-dim",
        "12",
        "--set",
        "inference.max_iterations=5",
    ];
    let base = [&base[..], &small, &["--set", "data.window=16"]].concat();
    // 45 windows make two batches; the run stops early, so that the test need not take all steps.
    let chosen = path("chosen");
    let output = run(&[&base[..], &["--out", text(&chosen), "--patience", "1"]].concat());
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(
        stderr(&output).contains("750 epochs, 1500 steps"),
        "{}",
        stderr(&output)
    );
    let config = Config::read(&RunFolder::new(&chosen).config()).unwrap();
    assert_eq!(config.epochs, 750);
    // Said by anybody, it stays.
    for (name, more) in [
        ("flag", &["--epochs", "2"][..]),
        ("set", &["--set", "epochs=2"]),
    ] {
        let out = path(name);
        let output = run(&[&base[..], more, &["--out", text(&out)]].concat());
        assert!(output.status.success(), "{}", stderr(&output));
        let config = Config::read(&RunFolder::new(&out).config()).unwrap();
        assert_eq!(config.epochs, 2);
        let said = stderr(&output);
        assert!(!said.contains("names another number"), "{said}");
        assert!(
            said.contains("this run is short") && said.contains("--epochs 750` goes on"),
            "{said}"
        );
    }
}
