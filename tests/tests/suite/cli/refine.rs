//! `--refine` and its flags.

use super::*;

/// Raw samples for the models of pictures, in `x.npy`.
fn samples(folder: &Path) -> PathBuf {
    let path = folder.join("x.npy");
    let raw = dead_leaves_image(64, 64, 5)[..640].to_vec();
    write_npy_f32(&path, &[10, 64], &raw).unwrap();
    path
}

#[test]
fn flags_of_refinement_that_mean_nothing_are_refused() {
    let runs = Runs::get();
    let folder = tempfile::tempdir().unwrap();
    let (input, output) = (samples(folder.path()), folder.path().join("z.npy"));
    let refuse = |command: &str, model: &str, more: &[&str], words: &[&str]| {
        let file = runs.path(&format!("{model}-f32.safetensors"));
        let files = ["--input", text(&input), "--output", text(&output)];
        refused(
            2,
            &[&[command, text(&file)], &files[..], more].concat(),
            words,
        );
        assert!(!output.exists(), "{more:?}");
    };
    for command in ["encode", "denoise"] {
        for (flag, value) in [
            ("--method", "fista"),
            ("--tolerance", "0"),
            ("--lambda", "0.1"),
            ("--sigma", "0.1"),
        ] {
            refuse(
                command,
                "image",
                &[flag, value],
                &[flag, "--refine ITERATIONS"],
            );
        }
        let all = |flag: &'static str, value: &'static str| ["--refine", "5", flag, value];
        for flag in ["--lambda", "--sigma"] {
            for value in ["-1", "nan", "inf", "-inf", "1e40", "0,1", ""] {
                let words = [flag, "0 or more"];
                refuse(command, "image", &all(flag, value), &words);
            }
        }
        for value in ["-1e-3", "nan", "1", "20", "x"] {
            let words = ["--tolerance", "0 to below 1"];
            refuse(command, "image", &all("--tolerance", value), &words);
        }
        for value in ["-1", "1.5", "4294967296", "many"] {
            let words = ["--refine", "whole number", "4294967295"];
            refuse(command, "image", &["--refine", value], &words);
        }
        refuse(
            command,
            "image",
            &all("--method", "newton"),
            &["fista", "descent"],
        );
        let both = ["--refine", "5", "--sigma", "0.1", "--lambda", "0.1"];
        refuse(
            command,
            "image",
            &both,
            &["--sigma", "--lambda", "one of them"],
        );
        let words = ["--method descent", "hidden layer", "--method fista"];
        refuse(command, "image-nl", &all("--method", "descent"), &words);
    }
}

#[test]
fn flags_of_refinement_do_what_they_say() {
    let runs = Runs::get();
    let folder = tempfile::tempdir().unwrap();
    let (input, output) = (samples(folder.path()), folder.path().join("z.npy"));
    let encode = |model: &str, more: &[&str]| {
        let file = runs.path(model);
        let files = ["--input", text(&input), "--output", text(&output)];
        done(&[&["encode", text(&file)], &files[..], more].concat());
        read_npy_f32(&output).unwrap().1
    };
    let zeros = |codes: &[f32]| codes.iter().filter(|z| **z == 0.0).count();
    for model in ["image-f32.safetensors", "do-i8.safetensors"] {
        let plain = encode(model, &[]);
        assert_eq!(encode(model, &["--refine", "0"]), plain, "{model}");
        // Two ways to the same codes.
        let to_the_end = ["--refine", "5000", "--tolerance", "0", "--method"];
        let fista = encode(model, &[&to_the_end[..], &["fista"]].concat());
        let descent = encode(model, &[&to_the_end[..], &["descent"]].concat());
        let size = plain.iter().fold(0.0_f32, |size, z| size.max(*z));
        let difference = max_difference(&fista, &descent);
        assert!(difference < 2e-3 * size, "{model}: {difference} of {size}");
        assert!(max_difference(&fista, &plain) > 2.0 * difference, "{model}");
        // The default, named.
        let ten = ["--refine", "10"];
        assert_eq!(
            encode(model, &ten),
            encode(
                model,
                &[&ten[..], &["--method", "fista", "--tolerance", "0.001"]].concat()
            ),
            "{model}"
        );
        // A coarse tolerance ends sooner.
        let coarse = encode(model, &["--refine", "5000", "--tolerance", "0.3"]);
        assert!(max_difference(&coarse, &fista) > difference, "{model}");
        // More λ, more zeros; σ is a λ.
        let more = |flag, value| encode(model, &["--refine", "500", flag, value]);
        let [little, much] = ["0", "0.5"].map(|lambda| zeros(&more("--lambda", lambda)));
        assert!(little < zeros(&fista) && zeros(&fista) < much, "{model}");
        let bytes = AlignedBytes::read(runs.path(model)).unwrap();
        let spec = *HostModel::new(&bytes, model).unwrap().spec();
        let sigma = 0.1 / spec.preprocessing.deviation;
        let lambda = sparsecode_runtime::Refine::for_noise(&spec, sigma).lambda;
        assert_eq!(
            more("--sigma", "0.1"),
            more("--lambda", &lambda.to_string()),
            "{model}"
        );
    }
}

/// Also without an encoder, where 200 iterations of inference come first.
#[test]
fn refining_never_makes_it_worse() {
    let runs = Runs::get();
    let folder = tempfile::tempdir().unwrap();
    let input = samples(folder.path());
    let raw = read_npy_f32(&input).unwrap().1;
    for name in ["image", "image-nl", "do"] {
        let model = runs.path(&format!("{name}-f32.safetensors"));
        let bytes = AlignedBytes::read(&model).unwrap();
        let spec = *HostModel::new(&bytes, name).unwrap().spec();
        let run_file = |command: &str, input: &Path, output: &Path, more: &[&str]| {
            let files = ["--input", text(input), "--output", text(output)];
            done(&[&[command, text(&model)], &files[..], more].concat());
            read_npy_f32(output).unwrap().1
        };
        let energies = |more: &[&str]| -> Vec<f64> {
            let (z, y) = (folder.path().join("z.npy"), folder.path().join("y.npy"));
            let codes = run_file("encode", &input, &z, more);
            let decoded = run_file("decode", &z, &y, &[]);
            let rows = raw.chunks(64).zip(decoded.chunks(64));
            let deviation = f64::from(spec.preprocessing.deviation);
            rows.zip(codes.chunks(spec.code_dim()))
                .map(|((x, y), z)| {
                    let errors = x.iter().zip(y).map(|(a, b)| f64::from(a - b) / deviation);
                    let square: f64 = errors.map(|e| e * e).sum();
                    let l1: f64 = z.iter().map(|z| f64::from(*z)).sum();
                    square / 64.0 + f64::from(spec.lambda) * l1
                })
                .collect()
        };
        let plain = energies(&[]);
        for iterations in ["1", "10", "20", "50", "200"] {
            let refined = energies(&["--refine", iterations]);
            for (before, after) in plain.iter().zip(&refined) {
                assert!(
                    *after <= before * (1.0 + 1e-5),
                    "{name}: {iterations} iterations lead from {before} to {after}"
                );
            }
        }
    }
}
