//! `quickstart` and `data fetch`.

use super::*;

#[test]
fn the_quickstart_goes_all_the_way() {
    for (signal, sizes) in [
        (&[][..], (64, 128)),
        (&["--signal", "ecg"], (64, 128)),
        (&["--signal", "vibration"], (64, 128)),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("quick");
        let fixed = [
            "quickstart",
            "--epochs",
            "1",
            "--json",
            "--quiet",
            "--output",
            text(&out),
        ];
        let small = [
            "--set",
            "data.train=2000",
            "--set",
            "data.test=200",
            "--set",
            "data.validation=200",
        ];
        let report = json(&[&fixed[..], &small, signal].concat());
        let what = format!("{signal:?}: {report}");
        let noisy = report["psnr_noisy"].as_f64().unwrap();
        assert!((0.0..60.0).contains(&noisy), "{what}");
        let rows = report["rows"].as_array().unwrap();
        assert_eq!(rows.len(), 5, "{what}");
        // In integers as in f32.
        for (float, integer) in rows[..2].iter().zip(&rows[2..4]) {
            for (key, bound) in [("psnr", 0.2), ("sparsity", 0.01)] {
                let [a, b] = [float, integer].map(|row| row[key].as_f64().unwrap());
                assert!((a - b).abs() < bound, "{what}: {key} {a} and {b}");
            }
        }
        for row in rows {
            assert!(
                (0.0..60.0).contains(&row["psnr"].as_f64().unwrap()),
                "{what}"
            );
            assert!(
                (0.0..=1.0).contains(&row["sparsity"].as_f64().unwrap()),
                "{what}"
            );
            assert!(row["seconds_per_patch"].as_f64().unwrap() > 0.0, "{what}");
        }
        let model = std::fs::metadata(report["model_file"].as_str().unwrap()).unwrap();
        assert_eq!(report["model_bytes"], model.len(), "{what}");
        assert_eq!(
            report["ram_bytes"],
            sparsecode_runtime::ram_bytes(sizes.0, sizes.1, 0),
            "{what}"
        );
        let denoiser = std::fs::metadata(report["denoiser_file"].as_str().unwrap()).unwrap();
        assert_eq!(report["denoiser_bytes"], denoiser.len(), "{what}");
        // As well as the other model after as little training.
        let [refined, trained] = [1, 4].map(|row: usize| rows[row]["psnr"].as_f64().unwrap());
        assert!(trained > refined - 0.5, "{what}");
        let pictures = report["pictures"].as_array().unwrap();
        assert!(pictures.len() >= 2, "{what}");
        for picture in pictures {
            let picture = image::open(picture.as_str().unwrap()).unwrap();
            assert!(picture.width() > 100 && picture.height() > 50, "{what}");
        }
    }
}

/// What is there is not replaced without a word, and what is interrupted is no success.
#[test]
fn the_quickstart_replaces_nothing_unasked() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("quick");
    let small = [
        "quickstart",
        "--epochs",
        "1",
        "--quiet",
        "--set",
        "data.train=500",
        "--set",
        "data.test=50",
        "--set",
        "data.validation=50",
        "--output",
        text(&out),
    ];
    let said = done(&small);
    // The figures of the picture are those of the table, and say of how many samples.
    assert!(
        said.contains("patches.png") && said.contains("the figures are those of all"),
        "{said}"
    );
    let model = out.join("model.safetensors");
    let before = std::fs::read(&model).unwrap();
    let seeded = [&small[..], &["--seed", "5"]].concat();
    refused(2, &seeded, &["quick", "--overwrite", "--output"]);
    assert!(std::fs::read(&model).unwrap() == before);
    // Nor is a model file without its run.
    std::fs::remove_dir_all(out.join("run")).unwrap();
    refused(2, &seeded, &["model.safetensors", "--overwrite"]);
    done(&[&seeded[..], &["--overwrite"]].concat());
    assert!(std::fs::read(&model).unwrap() != before);

    let long = folder.path().join("long");
    let mut child = sparsecode()
        .args([
            "quickstart",
            "--epochs",
            "500",
            "--quiet",
            "--output",
            text(&long),
        ])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    super::training::wait_for(&RunFolder::new(long.join("run")).metrics());
    let id = child.id().to_string();
    assert!(
        Command::new("kill")
            .args(["-INT", &id])
            .status()
            .unwrap()
            .success()
    );
    let mut message = String::new();
    std::io::Read::read_to_string(&mut child.stderr.take().unwrap(), &mut message).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130), "{message}");
    assert!(message.contains("--overwrite"), "{message}");
    assert!(!long.join("model.safetensors").exists());
}

/// Answers requests for the files of a folder, or for anything with the same bytes, until the test
/// program ends.
fn serve(answer: impl Fn(&str) -> Option<Vec<u8>> + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
            let request = lines.next().unwrap().unwrap();
            while lines
                .next()
                .is_some_and(|line| line.is_ok_and(|line| !line.is_empty()))
            {}
            let name = request.split(' ').nth(1).unwrap().trim_start_matches('/');
            let (status, body) = match answer(name) {
                Some(body) => ("200 OK", body),
                None => ("404 Not Found", Vec::new()),
            };
            // The client may have gone already.
            let _ = write!(
                stream,
                "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                body.len()
            );
            let _ = stream.write_all(&body);
        }
    });
    url
}

#[test]
fn mnist_is_fetched_and_checked() {
    let folder = tempfile::tempdir().unwrap();
    let out = text(folder.path());
    let garbage = serve(|_| Some(b"not what was published".to_vec()));
    let fetch = ["data", "fetch", "mnist", "--output", out, "--mirror"];
    refused(
        1,
        &[&fetch[..], &[&garbage]].concat(),
        &["train-images-idx3-ubyte.gz", "--mirror"],
    );
    let nothing = serve(|_| None);
    refused(
        1,
        &[&fetch[..], &[&nothing]].concat(),
        &["train-images-idx3-ubyte.gz", "404"],
    );
    let files = |folder: &Path| std::fs::read_dir(folder).map_or(0, Iterator::count);
    assert_eq!(files(&folder.path().join("mnist")), 0, "something was kept");

    let Some(real) = shared("data/mnist") else {
        return;
    };
    let swapped = real.clone();
    // Real files under each other's names unpack, but to another content.
    let wrong = serve(move |_| std::fs::read(swapped.join("t10k-labels-idx1-ubyte.gz")).ok());
    refused(
        1,
        &[&fetch[..], &[&wrong]].concat(),
        &["train-images-idx3-ubyte.gz", "instead of"],
    );
    let mirror = serve(move |name| std::fs::read(real.join(name)).ok());
    let said = done(&[&fetch[..], &[&mirror]].concat());
    assert!(said.contains("complete"), "{said}");
    assert_eq!(files(&folder.path().join("mnist")), 4);
    // Again without a server: all is there.
    done(&[&fetch[..], &["http://127.0.0.1:9"]].concat());
    let run = folder.path().join("run");
    let sets = [
        "--set",
        "data.train=250",
        "--set",
        "data.validation=50",
        "--set",
        "inference.max_iterations=3",
    ];
    let fixed = [
        "train",
        "--preset",
        "mnist/vdl",
        "--epochs",
        "1",
        "--quiet",
        "--data",
        out,
        "--out",
        text(&run),
    ];
    done(&[&fixed[..], &sets].concat());
}
