use image::GrayImage;

use super::super::contrast_reference as reference;
use super::super::generate::dead_leaves_image;
use super::super::tests::shared_data;
use super::*;

fn small() -> ImagesConfig {
    ImagesConfig {
        patch: 12,
        window: 7,
        sigma: 2.5,
        train: 300,
        validation: 200,
        test: 100,
        ..ImagesConfig::default()
    }
}

/// Pictures of 300×256 in two formats, in a subfolder.
fn pictures(folder: &Path, count: usize) {
    for index in 0..count {
        let pixels = dead_leaves_image(300, 256, index as u64);
        let pixels = pixels.iter().map(|v| (v * 255.0).round() as u8).collect();
        let image = GrayImage::from_raw(300, 256, pixels).unwrap();
        let name = format!("deeper/{index}.{}", ["png", "PGM"][index % 2]);
        let path = folder.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        image.save(path).unwrap();
    }
}

#[test]
fn patches_equal_the_formula_in_f64() {
    let config = small();
    let side = config.crop();
    let image: Vec<f32> = dead_leaves_image(40, 40, 3);
    let image: Vec<u8> = image.iter().map(|v| (v * 255.0).round() as u8).collect();
    let image = GrayImage::from_raw(40, 40, image).unwrap();
    let kernel = gaussian(config.window, config.sigma);
    let stream = Stream::TestData;
    let batch = config.batch(
        std::slice::from_ref(&Grey::Eight(image.clone())),
        &kernel,
        &mut part_generator(9, stream, 0),
    );

    // The same draws, as the documentation has them: picture, x, y.
    let mut rng = part_generator(9, stream, 0);
    let references: Vec<_> = (0..BATCH)
        .map(|_| {
            let _: usize = rng.random_range(0..1);
            let x = rng.random_range(0..=40 - side);
            let y = rng.random_range(0..=40 - side);
            let crop: Vec<f64> = (0..side * side)
                .map(|place| {
                    let pixel = image.as_raw()[(y + place / side) * 40 + x + place % side];
                    (f64::from(pixel) / 255.0 - 0.457) / 0.259
                })
                .collect();
            reference(&crop, side, config.window, f64::from(config.sigma))
        })
        .collect();
    let deviations = references.iter().flat_map(|[_, _, deviation]| deviation);
    let floor = deviations.sum::<f64>() / (BATCH * 144) as f64;
    assert!(
        (f64::from(batch.floor) - floor).abs() < 1e-5,
        "{} {floor}",
        batch.floor
    );
    let (mut kept, mut raised) = (0, 0);
    for [centred, mean, deviation] in &references {
        let scale: Vec<f64> = deviation.iter().map(|d| d.max(floor)).collect();
        raised += deviation.iter().filter(|d| **d < floor).count();
        let patch: Vec<f64> = centred.iter().zip(&scale).map(|(v, d)| v / d).collect();
        let level = patch.iter().sum::<f64>() / 144.0;
        let variance = patch.iter().map(|v| (v - level).powi(2)).sum::<f64>() / 144.0;
        if variance.sqrt() < 0.5 {
            continue;
        }
        for (pixel, ((value, scale), mean)) in patch.iter().zip(scale).zip(mean).enumerate() {
            let place = kept * 144 + pixel;
            assert!((f64::from(batch.samples[place]) - value).abs() < 1e-4);
            assert!((f64::from(batch.scale[place]) - scale * 0.259).abs() < 1e-5);
            assert!((f64::from(batch.offset[place]) - (mean * 0.259 + 0.457)).abs() < 1e-5);
        }
        kept += 1;
    }
    assert_eq!(batch.samples.len(), kept * 144);
    assert!(kept > 50 && raised > 1000, "{kept} kept, {raised} raised");
}

#[test]
fn one_seed_gives_the_same_patches_on_any_number_of_threads() {
    let folder = tempfile::tempdir().unwrap();
    pictures(folder.path(), 4);
    let load = |threads: usize, seed: u64| {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap();
        pool.install(|| small().load(Some(folder.path()), seed))
            .unwrap()
    };
    let (one, three, other) = (load(1, 7), load(3, 7), load(3, 8));
    assert_eq!(
        (one.train.len(), one.validation.len(), one.test.len()),
        (300, 200, 100)
    );
    assert_eq!(one.train.samples, three.train.samples);
    assert_eq!(one.test.samples, three.test.samples);
    assert_eq!(one.preprocessing, three.preprocessing);
    assert_ne!(one.train.samples, other.train.samples);
    assert!(
        one.description.contains("2/1/1 images"),
        "{}",
        one.description
    );
    for index in 0..one.test.len() {
        let mut patch = one.test.sample(index).to_vec();
        let (_, deviation) = super::super::mean_and_deviation(&patch).unwrap();
        assert!(deviation >= MIN_DEVIATION);
        one.test.restore.restore(index, &mut patch);
        for value in patch {
            let level = value * 255.0;
            assert!(
                (level - level.round()).abs() < 1e-2,
                "{level} is not a pixel"
            );
        }
    }
}

#[test]
fn no_image_is_in_two_parts() {
    let files: Vec<PathBuf> = (0..95).map(|index| format!("{index}.png").into()).collect();
    let split = |max_images, seed| {
        let config = ImagesConfig {
            max_images,
            ..ImagesConfig::default()
        };
        split_files(
            files.clone(),
            (
                config.test_files.as_deref().unwrap_or_default(),
                config.max_images,
            ),
            Path::new("x"),
            seed,
        )
        .unwrap()
    };
    let parts = split(1000, 1);
    assert_eq!(parts.each_ref().map(Vec::len), [77, 9, 9]);
    let mut all = parts.concat();
    all.sort();
    let mut expected = files.clone();
    expected.sort();
    assert_eq!(all, expected);
    assert_ne!(parts, split(1000, 2));
    assert_eq!(split(3, 1).map(|part| part.len()), [1, 1, 1]);
}

#[test]
fn named_pictures_are_the_test_part() {
    let files: Vec<PathBuf> = (0..20)
        .map(|index| format!("x/{index}.png").into())
        .collect();
    let config = |names: &[&str]| ImagesConfig {
        test_files: Some(names.iter().map(|name| (*name).to_owned()).collect()),
        ..ImagesConfig::default()
    };
    let split = |config: ImagesConfig| {
        split_files(
            files.clone(),
            (
                config.test_files.as_deref().unwrap_or_default(),
                config.max_images,
            ),
            Path::new("x"),
            5,
        )
    };
    let [train, validation, test] = split(config(&["7.png", "12.png"])).unwrap();
    assert_eq!(test, [files[7].clone(), files[12].clone()]);
    assert_eq!((train.len(), validation.len()), (17, 1));
    assert!(!train.contains(&files[7]) && !validation.contains(&files[7]));
    let error = split(config(&["7.png", "gone.png"]))
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("gone.png") && error.contains("data.test_files"),
        "{error}"
    );
}

/// Without a change of contrast patches are pixels, flat ones too.
#[test]
fn patches_may_be_what_a_picture_shows() {
    let folder = tempfile::tempdir().unwrap();
    pictures(folder.path(), 4);
    let config = ImagesConfig {
        contrast: PatchContrast::None,
        ..small()
    };
    let splits = config.load(Some(folder.path()), 7).unwrap();
    assert_eq!(splits.preprocessing.contrast, Contrast::None);
    let raw = |value: f32| value * DEVIATION + MEAN;
    for &value in &splits.train.samples {
        let level = raw(value) * 255.0;
        assert!((level - level.round()).abs() < 1e-2, "{level} is no pixel");
    }
    let mut sample = splits.test.sample(0).to_vec();
    let first = sample[0];
    splits.test.restore.restore(0, &mut sample);
    assert_eq!(sample[0], raw(first));
}

#[test]
fn colour_is_weighed_by_luma_and_large_images_are_resized() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("colour.png");
    for (pixel, expected) in [
        ([255, 0, 0], 76),
        ([0, 255, 0], 150),
        ([0, 0, 255], 29),
        ([255, 255, 255], 255),
    ] {
        image::RgbImage::from_pixel(512, 1024, image::Rgb(pixel))
            .save(&path)
            .unwrap();
        let (grey, side) = read_grey(&path).unwrap();
        assert_eq!((grey.dimensions(), side), ((256, 512), 512));
        let expected = expected as f32 / 255.0;
        assert!(
            grey.extent()
                .iter()
                .all(|v| (v - expected).abs() < 1.1 / 255.0),
            "{expected}"
        );
    }
}

#[test]
fn unusable_folders_images_and_fields_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let load = |config: &ImagesConfig| config.load(Some(folder.path()), 1);
    let error = load(&small()).unwrap_err().to_string();
    assert!(
        error.contains("there are no images in it") && error.contains("--data"),
        "{error}"
    );
    pictures(folder.path(), 3);
    assert!(load(&small()).is_ok());
    let huge = ImagesConfig {
        patch: 245,
        ..small()
    };
    let even = ImagesConfig {
        window: 12,
        ..small()
    };
    let flat = ImagesConfig {
        sigma: 0.0,
        ..small()
    };
    let none = ImagesConfig {
        train: 0,
        ..small()
    };
    for (config, needle) in [
        (huge, "data.patch"),
        (even, "data.window"),
        (flat, "data.sigma"),
        (none, "data.train"),
    ] {
        let error = load(&config).unwrap_err().to_string();
        assert!(error.contains(needle), "{error:?} lacks {needle:?}");
    }
    std::fs::write(
        folder.path().join("broken.jpg"),
        b"\xff\xd8\xff not an image",
    )
    .unwrap();
    let error = load(&small()).unwrap_err().to_string();
    assert!(
        error.contains("broken.jpg") && error.contains("take it out"),
        "{error}"
    );

    let blank = tempfile::tempdir().unwrap();
    for index in 0..3 {
        let path = blank.path().join(format!("{index}.png"));
        GrayImage::from_pixel(256, 256, image::Luma([99]))
            .save(path)
            .unwrap();
    }
    let error = small().load(Some(blank.path()), 1).unwrap_err().to_string();
    assert!(error.contains("almost blank"), "{error}");
    let strip = folder.path().join("strip.png");
    GrayImage::new(2, 400).save(&strip).unwrap();
    assert!(
        read_grey(&strip)
            .unwrap_err()
            .to_string()
            .contains("narrow")
    );
}

#[test]
fn the_real_images() {
    let Some(folder) = shared_data() else { return };
    let config = ImagesConfig {
        train: 20_000,
        validation: 2000,
        test: 2000,
        ..ImagesConfig::default()
    };
    let start = std::time::Instant::now();
    let splits = config.load(Some(&folder), 31).unwrap();
    println!("{} in {:?}", splits.description, start.elapsed());
    let Contrast::Local { floor, .. } = splits.preprocessing.contrast else {
        panic!("not locally normalised");
    };
    let (mean, deviation) = super::super::mean_and_deviation(&splits.train.samples).unwrap();
    let Restore::PerPixel { scale, .. } = &splits.train.restore else {
        panic!("not restored pixel by pixel");
    };
    let local = scale.iter().map(|&v| f64::from(v)).sum::<f64>() / scale.len() as f64;
    let local = local / f64::from(DEVIATION);
    println!(
        "patches: mean {mean:.4}, deviation {deviation:.4}, local deviation {local:.4}; floor {floor:.4}"
    );
    // What an independent implementation of the same pipeline found on the same 900 images.
    assert!((deviation - 0.826).abs() < 0.01, "{deviation}");
    assert!((mean + 0.003).abs() < 0.01, "{mean}");
    assert!((local - 0.355).abs() < 0.015, "{local}");
}

/// Whole pictures are filtered before crops are cut, and each pixel of a patch is normalised by
/// what the training pictures say of it.
#[test]
fn whitened_patches_are_normalised_by_the_training_pictures() {
    let folder = tempfile::tempdir().unwrap();
    pictures(folder.path(), 10);
    let config = ImagesConfig {
        contrast: PatchContrast::Whiten,
        ..small()
    };
    let splits = config.load(Some(folder.path()), 7).unwrap();
    let dim = splits.train.dim;
    assert_eq!(splits.preprocessing, Preprocessing::IDENTITY);
    let facts = super::super::DataFacts::of(&splits);
    let statistics = facts.per_pixel.clone().unwrap();
    let error = facts.parse_uniform().unwrap_err().to_string();
    assert!(error.contains("preprocessing"), "{error}");

    // Held out are whole pictures: every raw patch is one of its own part's, filtered whole.
    let (files, _) = find_images(folder.path()).unwrap();
    let parts = split_files(
        files,
        (
            config.test_files.as_deref().unwrap_or_default(),
            config.max_images,
        ),
        folder.path(),
        7,
    )
    .unwrap();
    assert_eq!(parts.each_ref().map(Vec::len), [8, 1, 1]);
    let sets = [
        (&splits.train, Stream::TrainData),
        (&splits.validation, Stream::ValidationData),
        (&splits.test, Stream::TestData),
    ];
    let mut means = vec![0.0f64; dim];
    for (files, (set, stream)) in parts.iter().zip(sets) {
        let white: Vec<Whitened> = files
            .iter()
            .map(|path| Whitened::of(&read_grey(path).unwrap().0, config.cutoff))
            .collect();
        let mut rng = part_generator(7, stream, 0);
        for index in 0..set.len().min(BATCH) {
            let picture = &white[rng.random_range(0..white.len())];
            let (width, height) = picture.dimensions();
            let x = rng.random_range(0..=width - config.patch);
            let y = rng.random_range(0..=height - config.patch);
            let mut raw = set.sample(index).to_vec();
            set.restore.restore(index, &mut raw);
            let mut row = vec![0.0; config.patch];
            for (down, line) in raw.chunks_exact(config.patch).enumerate() {
                picture.row(x, y + down, &mut row);
                let far = line.iter().zip(&row).map(|(a, b)| (a - b).abs());
                assert!(far.fold(0.0, f32::max) < 1e-5, "patch {index}");
            }
        }
        // Of the training part alone the deviations are 1 and the means 0, pixel by pixel.
        let found = PerPixel::of(&set.samples, dim).unwrap();
        let off = |values: &[f32], expected: f32| {
            let off = values.iter().map(|value| (value - expected).abs());
            off.fold(0.0, f32::max)
        };
        let off = off(&found.mean, 0.0).max(off(&found.deviation, 1.0));
        match stream {
            Stream::TrainData => assert!(off < 1e-4, "{off}"),
            _ => assert!(off > 1e-2, "{off}"),
        }
        if stream == Stream::TrainData {
            for index in 0..set.len() {
                let mut raw = set.sample(index).to_vec();
                set.restore.restore(index, &mut raw);
                for (mean, value) in means.iter_mut().zip(raw) {
                    *mean += f64::from(value) / set.len() as f64;
                }
            }
        }
    }
    for (mean, expected) in means.iter().zip(&statistics.mean) {
        assert!((mean - f64::from(*expected)).abs() < 1e-6);
    }
    // The spread of the raw test patches, for PSNR.
    let mut raw = splits.test.samples.clone();
    for (index, sample) in raw.chunks_exact_mut(dim).enumerate() {
        splits.test.restore.restore(index, sample);
    }
    assert!((range(&raw) - splits.peak).abs() < 1e-5);

    let wrong = ImagesConfig {
        cutoff: 0.0,
        ..config
    };
    let error = wrong.load(Some(folder.path()), 7).unwrap_err().to_string();
    assert!(error.starts_with("data.cutoff"), "{error}");
}

/// Tables of runs from before have no cut-off, and stay what they were.
#[test]
fn the_usual_cutoff_is_not_written() {
    let text = toml::to_string(&small()).unwrap();
    assert!(!text.contains("cutoff"), "{text}");
    let other = ImagesConfig {
        cutoff: 0.3,
        contrast: PatchContrast::Whiten,
        ..small()
    };
    let text = toml::to_string(&other).unwrap();
    assert!(
        text.contains("cutoff = 0.3\n") && text.contains("contrast = \"whiten\""),
        "{text}"
    );
    assert_eq!(toml::from_str::<ImagesConfig>(&text).unwrap(), other);
}
