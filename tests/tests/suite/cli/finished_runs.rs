//! What is done with a run: `evaluate`, `features`, `export`, `inspect`, `import`.

use super::*;

#[test]
fn runs_are_measured() {
    let runs = Runs::get();
    let results = json(&[
        "evaluate",
        text(&runs.path("image")),
        "--noise",
        "0.5,1.0",
        "--fista",
        "--json",
    ]);
    let results = results.as_array().unwrap();
    assert_eq!(results.len(), 6);
    for result in results {
        assert_eq!(result["samples"], 100);
        let sparsity = result["sparsity"].as_f64().unwrap();
        assert!((0.0..=1.0).contains(&sparsity), "{result}");
        let psnr = result["psnr"].as_f64().unwrap();
        assert!((0.0..60.0).contains(&psnr), "{result}");
        assert!(result["dead_atoms"].as_u64().unwrap() <= 128, "{result}");
        assert!(result["energy"].as_f64().unwrap() > 0.0, "{result}");
    }
    let input = |i: usize| results[i]["psnr_input"].as_f64();
    assert_eq!(input(0), None);
    // Twice the noise is 6.02 dB.
    let step = input(1).unwrap() - input(2).unwrap();
    assert!(
        (step - 6.02).abs() < 0.3,
        "{step} dB between the noise levels"
    );
    let codes: Vec<&str> = results
        .iter()
        .map(|r| r["codes"].as_str().unwrap())
        .collect();
    assert_eq!(
        codes,
        ["encoder", "encoder", "encoder", "fista", "fista", "fista"]
    );
    // After one epoch the encoder only approximates what FISTA finds.
    assert!(results[3]["psnr"].as_f64() > results[0]["psnr"].as_f64());
    let table = done(&["evaluate", text(&runs.path("do"))]);
    assert!(table.contains("FISTA") && table.contains("dB"), "{table}");
}

/// Noise of a deviation is the same noise, whatever else is measured.
#[test]
fn noise_does_not_depend_on_its_place_in_the_list() {
    let run = Runs::get().path("image");
    let figures = |noise: &str| json(&["evaluate", text(&run), "--noise", noise, "--json"]);
    let alone = figures("0.1");
    let several = figures("0.05,0.1,0.2");
    assert_eq!(alone[1], several[2]);
    assert_eq!(alone[0], several[0]);
    assert_eq!(figures("0.2,0.1")[2], alone[1]);
}

#[test]
fn features_are_pictures() {
    let runs = Runs::get();
    let folder = tempfile::tempdir().unwrap();
    for (run, of, columns) in [
        ("image", "decoder", 16),
        ("image", "encoder", 8),
        ("image-nl", "decoder", 16),
        ("signal", "decoder", 16),
    ] {
        let file = folder.path().join(format!("{run}-{of}.png"));
        let columns_text = columns.to_string();
        done(&[
            "features",
            text(&runs.path(run)),
            "--of",
            of,
            "--columns",
            &columns_text,
            "--output",
            text(&file),
        ]);
        let picture = image::open(&file).unwrap().to_luma8();
        if run != "signal" {
            // 8×8 tiles at one whole magnification, and gaps.
            let rows = 128 / columns;
            let (width, height) = (picture.width(), picture.height());
            assert!(
                width >= 8 * columns && height >= 8 * rows,
                "{run} {of}: {width}x{height}"
            );
            let aspect = f64::from(width) / f64::from(height);
            let expected = f64::from(columns) / f64::from(rows);
            assert!(
                (aspect / expected - 1.0).abs() < 0.1,
                "{run} {of}: {width}x{height}"
            );
        }
        let (low, high) = picture.pixels().fold((255, 0), |(low, high), p| {
            (p.0[0].min(low), p.0[0].max(high))
        });
        assert!(high - low > 100, "{run} {of}: levels {low} to {high}");
    }
}

#[test]
fn files_are_exported_and_inspected() {
    let runs = Runs::get();
    let folder = tempfile::tempdir().unwrap();
    let mut sizes = Vec::new();
    for weights in ["f32", "i16", "i8"] {
        let [first, second] =
            ["a", "b"].map(|name| folder.path().join(format!("{name}.safetensors")));
        for file in [&first, &second] {
            let report = json(&[
                "export",
                text(&runs.path("image")),
                "--weights",
                weights,
                "--output",
                text(file),
                "--json",
            ]);
            let bytes = std::fs::metadata(file).unwrap().len();
            assert_eq!(report["bytes"], bytes, "{report}");
            assert_eq!(report["weights"], weights);
            let figure = |who: &str| report[who]["psnr"].as_f64().unwrap();
            assert!((figure("run") - figure("file")).abs() < 0.2, "{report}");
            assert_eq!(report["tensors"].as_array().unwrap().len(), 3);
        }
        let bytes = std::fs::read(&first).unwrap();
        assert!(
            bytes == std::fs::read(&second).unwrap(),
            "{weights}: other bytes"
        );
        sizes.push(bytes.len());

        let report = json(&["inspect", text(&first), "--json"]);
        assert_eq!(report["flash_bytes"], bytes.len());
        assert_eq!(
            report["ram"]["total"],
            sparsecode_runtime::ram_bytes(64, 128, 0)
        );
        assert_eq!(
            (&report["model"], &report["weights"]),
            (&"vdl".into(), &weights.into())
        );
        assert_eq!(
            (&report["input_dim"], &report["code_dim"]),
            (&64.into(), &128.into())
        );
        assert_eq!(report["checksum"], "ok");
        let aligned = AlignedBytes::from_slice(&bytes);
        let spec = ModelFile::read(&aligned).unwrap().spec;
        assert_eq!(report["step_size"].as_f64().unwrap() as f32, spec.step_size);
        assert_eq!(report["provenance"]["seed"], 31);
    }
    assert!(sizes[0] > sizes[1] && sizes[1] > sizes[2], "{sizes:?}");
    let table = done(&["inspect", text(&runs.path("image-nl-i8.safetensors"))]);
    assert!(table.contains("non-negative components"), "{table}");
    assert!(
        table.contains("sdl-nl") && table.contains("hidden units"),
        "{table}"
    );
}

#[test]
fn torch_weights_are_imported() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let matrix = |rows: usize, columns: usize, step: usize| {
        let values = (0..rows * columns).map(|i| ((i * step) % 97) as f32 / 97.0 - 0.5);
        (vec![rows, columns], values.collect::<Vec<f32>>())
    };
    let vector = |length: usize| (vec![length], vec![0.125; length]);
    let (d, l, m) = (784, 20, 30);
    let encoder = [
        ("encoder.W.weight", matrix(l, d, 7)),
        ("encoder.W.bias", vector(l)),
        ("encoder.S.weight", matrix(l, l, 11)),
    ];
    let linear = [("decoder.decoder.weight", matrix(d, l, 13))];
    let hidden = [
        ("decoder.layer1.weight", matrix(m, l, 17)),
        ("decoder.layer1.bias", vector(m)),
        ("decoder.layer2.weight", matrix(d, m, 19)),
    ];
    type Part = (&'static str, (Vec<usize>, Vec<f32>));
    let make = |parts: &[Part]| -> Tensors {
        let named = |(name, tensor): &(&str, _)| ((*name).to_owned(), Clone::clone(tensor));
        encoder.iter().chain(parts).map(named).collect()
    };
    let file = path("torch.safetensors");
    for (preset, tensors) in [
        ("mnist/vdl", make(&linear)),
        ("mnist/vdl-nl", make(&hidden)),
    ] {
        write_tensors(&file, &tensors).unwrap();
        let out = path(&preset.replace('/', "-"));
        let said = done(&[
            "import",
            text(&file),
            "--preset",
            preset,
            "--output",
            text(&out),
        ]);
        assert!(said.contains("20 code components"), "{said}");
        let run = TrainedRun::open(&RunFolder::new(&out)).unwrap();
        for (ours, theirs) in [
            ("encoder.input", "encoder.W.weight"),
            ("encoder.bias", "encoder.W.bias"),
            ("encoder.recurrent", "encoder.S.weight"),
            ("decoder.dictionary", "decoder.decoder.weight"),
            ("decoder.hidden", "decoder.layer1.weight"),
            ("decoder.hidden_bias", "decoder.layer1.bias"),
            ("decoder.output", "decoder.layer2.weight"),
        ] {
            let found = run
                .model
                .parameters()
                .into_iter()
                .find(|(name, _)| *name == ours);
            let given = tensors.get(theirs);
            assert_eq!(found.is_some(), given.is_some(), "{ours}");
            if let (Some((_, found)), Some((_, given))) = (found, given) {
                assert_eq!(&flat(found), given, "{ours}");
            }
        }
        let model = path("imported.safetensors");
        done(&[
            "export",
            text(&out),
            "--weights",
            "i8",
            "--output",
            text(&model),
        ]);
        assert_eq!(json(&["inspect", text(&model), "--json"])["code_dim"], 20);
        refused(
            2,
            &[
                "import",
                text(&file),
                "--preset",
                preset,
                "--output",
                text(&out),
            ],
            &["already holds a run"],
        );
    }

    let out = path("never");
    let refusal = |status: i32, preset: &str, tensors: &Tensors, words: &[&str]| {
        write_tensors(&file, tensors).unwrap();
        refused(
            status,
            &[
                "import",
                text(&file),
                "--preset",
                preset,
                "--output",
                text(&out),
            ],
            words,
        );
        assert!(!out.exists());
    };
    let good = make(&linear);
    for name in good.keys() {
        let mut fewer = good.clone();
        fewer.remove(name);
        let missing = if name == "decoder.decoder.weight" {
            "decoder.layer1.weight"
        } else {
            name
        };
        refusal(
            1,
            "mnist/vdl",
            &fewer,
            &["torch.safetensors", missing, "missing"],
        );
        let mut wrong = good.clone();
        wrong.insert(name.clone(), matrix(3, 5, 1));
        refusal(1, "mnist/vdl", &wrong, &["torch.safetensors", "shape"]);
    }
    let mut extra = good.clone();
    extra.insert("fc.weight".to_owned(), vector(3));
    refusal(1, "mnist/vdl", &extra, &["fc.weight"]);
    let mut broken = good.clone();
    broken.get_mut("encoder.W.bias").unwrap().1[3] = f32::INFINITY;
    refusal(1, "mnist/vdl", &broken, &["encoder.W.bias", "finite"]);
    refusal(
        2,
        "mnist/vdl-nl",
        &good,
        &["--preset mnist/vdl-nl", "linear"],
    );
    refusal(1, "mnist/do", &good, &["encoder.W.weight"]);
    let both: Tensors = make(&linear).into_iter().chain(make(&hidden)).collect();
    refusal(1, "mnist/vdl", &both, &["decoder.layer"]);
    let empty: Tensors = [
        ("encoder.W.weight", matrix(0, d, 1)),
        ("encoder.W.bias", vector(0)),
        ("encoder.S.weight", matrix(0, 0, 1)),
        ("decoder.decoder.weight", matrix(d, 0, 1)),
    ]
    .into_iter()
    .map(|(name, tensor)| (name.to_owned(), tensor))
    .collect();
    write_tensors(&file, &empty).unwrap();
    let output = run(&[
        "import",
        text(&file),
        "--preset",
        "mnist/vdl",
        "--output",
        text(&out),
    ]);
    assert_ne!(output.status.code(), Some(0));
    assert!(stderr(&output).contains("code_dim"), "{}", stderr(&output));
    assert!(!out.exists());
}
