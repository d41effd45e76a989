//! `train --task denoise` on pictures, and what its models are used for.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use sparsecode_trainer::denoising::Noise;

use super::*;

/// Pixels in a line of the pictures.
const SIDE: usize = 256;

/// A run of some seconds on generated pictures, its files, and pictures that it never saw.
struct Pictures {
    folder: TempDir,
}

impl Pictures {
    fn get() -> &'static Self {
        static PICTURES: OnceLock<Pictures> = OnceLock::new();
        PICTURES.get_or_init(|| {
            let folder = tempfile::tempdir().unwrap();
            let at = |name: &str| folder.path().join(name);
            let run = at("run");
            let settings = ["data.train=1200", "data.validation=40", "data.test=40"];
            let mut train = vec!["train", "--preset", "pictures/denoise", "--out", text(&run)];
            settings
                .iter()
                .for_each(|setting| train.extend(["--set", setting]));
            done(
                &[
                    &train[..],
                    &["--code-dim", "32", "--epochs", "3", "--quiet"],
                ]
                .concat(),
            );
            let (floats, integers) = (at("f32.safetensors"), at("i16.safetensors"));
            let export = ["export", text(&run), "--output"];
            done(&[&export, &[text(&floats), "--weights", "f32"][..]].concat());
            done(&[&export, &[text(&integers), "--activations", "i16"][..]].concat());
            std::fs::create_dir(at("clean")).unwrap();
            for seed in [41, 42, 43] {
                let picture = dead_leaves_image(SIDE, SIDE, seed);
                let levels = picture.iter().map(|v| (v * 255.0).round() as u8).collect();
                let side = SIDE as u32;
                let grey = image::GrayImage::from_raw(side, side, levels).unwrap();
                grey.save(folder.path().join(format!("clean/{seed}.png")))
                    .unwrap();
            }
            Self { folder }
        })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// PSNR after and before, in dB, of the mean of the pictures at σ = 15 and 50.
    fn psnr(&self, file: &str, more: &[&str]) -> [[f64; 2]; 2] {
        let (file, data) = (self.path(file), self.path("clean"));
        let task = [
            "--task",
            "denoise",
            "--data",
            text(&data),
            "--sigmas",
            "15,50",
            "--json",
        ];
        let rows = json(&[&["evaluate", text(&file)], &task[..], more].concat());
        [15.0, 50.0].map(|sigma| {
            let mut rows = rows.as_array().unwrap().iter();
            let row = rows.find(|row| row["picture"].is_null() && row["sigma"] == sigma);
            ["psnr", "psnr_noisy"].map(|name| row.unwrap()[name].as_f64().unwrap())
        })
    }
}

fn noise(count: usize, deviation: f32, seed: u64) -> Vec<f32> {
    let mut values = vec![0.0; count];
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    Noise::white().add_steadily(&mut rng, deviation, &mut values);
    values
}

fn power(errors: impl Iterator<Item = f32>) -> f64 {
    let (sum, count) = errors.fold((0.0, 0), |(sum, count), error| {
        (sum + f64::from(error).powi(2), count + 1)
    });
    sum / f64::from(count)
}

#[test]
fn noise_is_removed_in_floats_and_integers_alike() {
    let pictures = Pictures::get();
    let shown = pictures.path("shown");
    let floats = pictures.psnr("f32.safetensors", &["--pictures", text(&shown)]);
    let integers = pictures.psnr("i16.safetensors", &[]);
    let gains = floats.map(|[clean, noisy]| clean - noisy);
    assert!(gains[0] > 4.0 && gains[1] > 8.0, "{gains:?}");
    for (a, b) in floats.iter().zip(integers) {
        assert!((a[0] - b[0]).abs() < 0.05, "{floats:?} {integers:?}");
    }
    // Noise of 15 and 50 levels, of which nothing was cut.
    for ([_, noisy], sigma) in floats.iter().zip([15.0_f64, 50.0]) {
        let expected = 20.0 * (255.0 / sigma).log10();
        assert!((noisy - expected).abs() < 0.1, "{noisy} {expected}");
    }
    // The texture of the pictures counts as noise, a little.
    let estimated = pictures.psnr("i16.safetensors", &["--estimate"]);
    assert!(
        estimated[1][0] > integers[1][0] - 0.3,
        "{estimated:?} {integers:?}"
    );
    // The clean picture, and noisy and cleaned ones of two levels.
    let shown = image::open(shown.join("41.png")).unwrap().to_luma8();
    assert_eq!(shown.dimensions(), (5 * SIDE as u32, SIDE as u32));
    let clean = image::open(pictures.path("clean/41.png"))
        .unwrap()
        .to_luma8();
    assert!((0..SIDE as u32).all(|x| shown.get_pixel(x, 9) == clean.get_pixel(x, 9)));
}

/// An array of floats comes back as one, its ends as clean as its middle.
#[test]
fn borders_are_as_good_as_the_middle() {
    let pictures = Pictures::get();
    let (width, height) = (150, 90);
    let clean = dead_leaves_image(width, height, 77);
    let added = noise(clean.len(), 0.1, 5);
    let noisy: Vec<f32> = clean.iter().zip(&added).map(|(x, n)| x + n).collect();
    let at = |name: &str| pictures.path(name);
    for (name, values) in [("clean.npy", &clean), ("noisy.npy", &noisy)] {
        write_npy_f32(&at(name), &[height, width], values).unwrap();
    }
    let (model, input) = (at("i16.safetensors"), at("noisy.npy"));
    let (output, reference) = (at("out.npy"), at("clean.npy"));
    let mut command = vec!["denoise", text(&model), "--input", text(&input), "--output"];
    command.extend([text(&output), "--overwrite", "--as", "picture", "--json"]);
    command.extend(["--reference", text(&reference)]);
    let gain = |more: &[&str]| {
        let report = json(&[&command[..], more].concat());
        report["parts"][0]["gain"]["gain"].as_f64().unwrap()
    };
    let estimated = gain(&[]);
    let known = gain(&["--noise-level", "0.1"]);
    assert!(
        known > 4.0 && (estimated - known).abs() < 0.5,
        "{known} {estimated}"
    );
    let (_, found) = read_npy_f32(&output).unwrap();
    let error = |of: &dyn Fn(usize, usize) -> bool| {
        let inside = |place: &usize| of(place % width, place / width);
        let places = (0..clean.len()).filter(inside);
        let [left, given] = [&found, &noisy].map(|of| {
            let errors = places.clone().map(|place| of[place] - clean[place]);
            power(errors)
        });
        left / given
    };
    let edge = |x: usize, side: usize| x < 3 || x >= side - 3;
    let border = error(&|x, y| edge(x, width) || edge(y, height));
    let middle = error(&|x, y| !edge(x, width) && !edge(y, height));
    assert!(border < 1.4 * middle, "{border} {middle}");
}

/// Depth, colours and opacity stay; a picture smaller than a patch has mirror images enough.
#[test]
fn pictures_come_back_as_they_were() {
    let pictures = Pictures::get();
    let at = |name: &str| pictures.path(name);
    let planes: Vec<Vec<f32>> = (0..3).map(|seed| dead_leaves_image(40, 30, seed)).collect();
    let added = noise(3 * 1200, 0.08, 6);
    let level = |plane: usize, place: usize| {
        let value = planes[plane][place] + added[plane * 1200 + place];
        (value.clamp(0.0, 1.0) * 65535.0).round() as u16
    };
    let noisy = image::ImageBuffer::from_fn(40, 30, |x, y| {
        let place = (40 * y + x) as usize;
        image::Rgb([0, 1, 2].map(|plane| level(plane, place)))
    });
    noisy.save(at("colour.png")).unwrap();
    let small = image::GrayImage::from_fn(5, 3, |x, y| image::Luma([(20 * x + 30 * y) as u8]));
    small.save(at("small.png")).unwrap();
    let model = at("i16.safetensors");
    let denoise = |input: &str, output: &str| {
        let (input, output) = (at(input), at(output));
        let command = ["denoise", text(&model), "--input", text(&input), "--output"];
        done(&[&command[..], &[text(&output), "--noise-level", "0.08"]].concat());
        image::open(output).unwrap()
    };
    let image::DynamicImage::ImageRgb16(clean) = denoise("colour.png", "out.png") else {
        panic!("it has 16 bits and three colours");
    };
    for plane in 0..3 {
        let left = |of: &image::ImageBuffer<image::Rgb<u16>, Vec<u16>>| {
            let pixels = of.pixels().zip(&planes[plane]);
            power(pixels.map(|(pixel, clean)| f32::from(pixel[plane]) / 65535.0 - clean))
        };
        assert!(left(&clean) < 0.6 * left(&noisy), "colour {plane}");
    }
    let small = denoise("small.png", "small-out.png").to_luma8();
    assert_eq!(small.dimensions(), (5, 3));
}

#[test]
fn what_does_not_fit_is_named() {
    let pictures = Pictures::get();
    let (model, data) = (pictures.path("i16.safetensors"), pictures.path("clean"));
    let evaluate = [
        "evaluate",
        text(&model),
        "--task",
        "denoise",
        "--data",
        text(&data),
    ];
    let more: [(&[&str], &[&str]); 5] = [
        (
            &["--recordings", "44.png"],
            &["--recordings 44.png", "no such picture"],
        ),
        (
            &["--recordings", "41.png", "--beats", "x.npy"],
            &["--beats", "pictures"],
        ),
        (&["--sigmas", "25,-1"], &["--sigmas -1", "above 0"]),
        (
            &["--pictures", text(&data)],
            &["--pictures", "stay as they are"],
        ),
        (
            &["--noise-recordings", "x.npy"],
            &["--noise-recordings", "pictures"],
        ),
    ];
    for (flags, words) in more {
        refused(2, &[&evaluate[..], flags].concat(), words);
    }
    let (input, output) = (pictures.path("clean/41.png"), pictures.path("never.png"));
    let denoise = [
        "denoise",
        text(&model),
        "--input",
        text(&input),
        "--output",
        text(&output),
    ];
    refused(
        2,
        &[&denoise[..], &["--keep-drift"]].concat(),
        &["--keep-drift", "signals"],
    );
    let out = pictures.path("other");
    let train = ["train", "--preset", "pictures/denoise", "--out", text(&out)];
    for (setting, words) in [
        ("data.height=25", ["data.height", "model.hop"]),
        ("data.width=28", ["square", "model.window"]),
        ("data.source=images", ["data.contrast", "none"]),
    ] {
        let flags = [
            "--data",
            text(&data),
            "--set",
            setting,
            "--set",
            "data.train=32",
        ];
        let flags = match setting.starts_with("data.source") {
            true => &flags[..],
            false => &flags[2..],
        };
        let output = sparsecode().args(train).args(flags).output().unwrap();
        assert_ne!(output.status.code(), Some(0), "{setting}");
        words.iter().for_each(|word| {
            assert!(
                stderr(&output).contains(word),
                "{setting}: {}",
                stderr(&output)
            );
        });
    }
}
