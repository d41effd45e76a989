use image::{DynamicImage, GrayImage, ImageBuffer, Luma, Rgb, Rgba};
use sparsecode_formats::NumberType;
use sparsecode_trainer::data::dead_leaves_image;
use sparsecode_trainer::data::picture::Pixels;

use super::{File, load};

const TABLE: &str = "source = \"images\"\npatch = 8\nwindow = 5\nsigma = 2.0\ntrain = 500\nvalidation = 100\ntest = 100";

/// A picture of 70×60 pixels with values from 0 to 1.
fn scene(seed: u64) -> Vec<f32> {
    dead_leaves_image(70, 60, seed)
}

fn grey8(seed: u64) -> DynamicImage {
    let levels = scene(seed).iter().map(|v| (v * 255.0) as u8).collect();
    GrayImage::from_raw(70, 60, levels).unwrap().into()
}

/// Thermal frames: 2000 levels of 65,536.
fn grey16(seed: u64) -> DynamicImage {
    let levels = scene(seed)
        .iter()
        .map(|v| 7000 + (v * 2000.0) as u16)
        .collect();
    let image: ImageBuffer<Luma<u16>, Vec<u16>> = ImageBuffer::from_raw(70, 60, levels).unwrap();
    image.into()
}

#[test]
fn depth_channels_and_opacity_are_kept() {
    let images: [(DynamicImage, NumberType, usize, bool); 6] = [
        (grey8(1), NumberType::U8, 1, false),
        (grey16(1), NumberType::U16, 1, false),
        (grey8(1).to_rgb8().into(), NumberType::U8, 3, false),
        (grey16(1).to_rgb16().into(), NumberType::U16, 3, false),
        (
            ImageBuffer::from_fn(70, 60, |x, y| Rgba([x as u8, y as u8, 9, 77])).into(),
            NumberType::U8,
            4,
            true,
        ),
        (grey16(1).to_luma_alpha16().into(), NumberType::U16, 2, true),
    ];
    for (image, number_type, stored, alpha) in images {
        for name in ["x.png", "x.tiff"] {
            let file = File::new(name, "");
            if image.save(&file.path).is_err() {
                continue;
            }
            let picture = Pixels::read(&file.path).unwrap();
            assert_eq!((picture.width, picture.height), (70, 60));
            assert_eq!(picture.number_type, number_type);
            assert_eq!(picture.channels.len() + usize::from(alpha), stored);
            assert_eq!(picture.alpha.is_some(), alpha);
            let clean = file.beside("clean.png");
            assert_eq!(picture.write(&clean, &picture.channels).unwrap(), 0);
            let back = image::open(&clean).unwrap();
            assert_eq!(back.color(), image.color());
            assert_eq!(back.as_bytes(), image.as_bytes());
        }
    }
    let file = File::new("x.png", "");
    grey16(1).save(&file.path).unwrap();
    let picture = Pixels::read(&file.path).unwrap();
    let mut bright = picture.channels.clone();
    bright[0][3] = 1.5;
    bright[0][4] = -0.5;
    assert_eq!(picture.write(&file.path, &bright).unwrap(), 2);
    let error = picture
        .write(&file.beside("x.jpg"), &picture.channels)
        .unwrap_err();
    assert!(error.to_string().contains("16 bits"), "{error}");
}

#[test]
fn one_grey_everywhere() {
    for (pixel, expected) in [
        ([0u8, 255, 0], 150.0),
        ([255, 0, 0], 76.0),
        ([0, 0, 255], 29.0),
        ([9, 9, 9], 9.0),
    ] {
        let file = File::new("x.png", "");
        ImageBuffer::from_pixel(9, 9, Rgb(pixel))
            .save(&file.path)
            .unwrap();
        let grey = Pixels::read(&file.path).unwrap().grey();
        assert_eq!(grey, vec![expected / 255.0; 81]);
        let deep = pixel.map(|level| u16::from(level) * 257);
        ImageBuffer::<Rgb<u16>, Vec<u16>>::from_pixel(9, 9, Rgb(deep))
            .save(&file.path)
            .unwrap();
        let grey = Pixels::read(&file.path).unwrap().grey();
        assert!(
            (grey[0] - expected / 255.0).abs() < 0.5 / 255.0,
            "{}",
            grey[0]
        );
    }
    // Training sees the same: the range of green pictures is that of the conversion.
    let folder = tempfile::tempdir().unwrap();
    for index in 0..3 {
        let green = |x: u32, y: u32| Rgb([0u8, (60 + (x * 7 + y * 13) % 100) as u8, 0]);
        let image = ImageBuffer::from_fn(256, 256, green);
        image
            .save(folder.path().join(format!("{index}.png")))
            .unwrap();
    }
    let splits = load(TABLE, Some(folder.path())).unwrap();
    let picture = Pixels::read(&folder.path().join("0.png")).unwrap().grey();
    let low = picture.iter().copied().fold(1.0, f32::min);
    let high = picture.iter().copied().fold(0.0, f32::max);
    assert_eq!(splits.input.range, Some([low, high]));
}

#[test]
fn sixteen_bits_train_as_sixteen_bits() {
    let folder = tempfile::tempdir().unwrap();
    for index in 0..6 {
        let levels = dead_leaves_image(300, 256, index);
        let levels = levels.iter().map(|v| 7000 + (v * 2000.0) as u16).collect();
        let image: ImageBuffer<Luma<u16>, Vec<u16>> =
            ImageBuffer::from_raw(300, 256, levels).unwrap();
        image
            .save(folder.path().join(format!("{index}.png")))
            .unwrap();
    }
    let splits = load(TABLE, Some(folder.path())).unwrap();
    assert_eq!(splits.input.number_type, Some(NumberType::U16));
    let [low, high] = splits.input.range.unwrap().map(|v| v * 65_535.0);
    assert!(
        (7000.0..7200.0).contains(&low) && (8800.0..=9000.0).contains(&high),
        "{low} {high}"
    );
    let mut levels: Vec<i32> = Vec::new();
    for index in 0..splits.train.len() {
        let mut patch = splits.train.sample(index).to_vec();
        splits.train.restore.restore(index, &mut patch);
        levels.extend(patch.iter().map(|v| (v * 65_535.0).round() as i32));
    }
    levels.sort_unstable();
    levels.dedup();
    // In 8 bits there would be eight.
    assert!(levels.len() > 500, "{} levels", levels.len());
    assert!(
        splits.read.contains("6 images of 16 bits"),
        "{}",
        splits.read
    );
}

#[test]
fn formats_are_read_and_what_is_passed_over_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let names = [
        "a.bmp", "b.gif", "c.tiff", "d.TIF", "e.webp", "f.jpg", "g.png", "h.pgm",
    ];
    for (index, name) in names.iter().enumerate() {
        let image = grey8(index as u64);
        let image = match *name {
            "b.gif" => image.to_rgba8().into(),
            "e.webp" => image.to_rgb8().into(),
            _ => image,
        };
        let path = folder.path().join(name);
        let written = image.save(&path);
        written.unwrap_or_else(|error| panic!("{name}: {error}"));
        let picture = Pixels::read(&path).unwrap();
        assert_eq!((picture.width, picture.height), (70, 60), "{name}");
    }
    std::fs::write(folder.path().join("movie.mp4"), "").unwrap();
    let splits = load(TABLE, Some(folder.path())).unwrap();
    assert!(
        splits.description.contains("6/1/1 images"),
        "{}",
        splits.description
    );
    let notes = splits.notes.join("\n");
    assert!(notes.contains("passed over movie.mp4"), "{notes}");
    // Small ones are said to be enlarged where a crop of them would not fit.
    assert!(!notes.contains("enlarged"), "{notes}");
    let large = TABLE.replace("patch = 8", "patch = 60");
    let splits = load(&large, Some(folder.path())).unwrap();
    assert!(
        splits
            .notes
            .join("\n")
            .contains("smaller than a crop of 68 pixels"),
        "{:?}",
        splits.notes
    );
    for (name, bytes, needle) in [
        (
            "broken.png",
            b"\x89PNG\r\n\x1a\n broken".as_slice(),
            "cannot be decoded",
        ),
        ("empty.jpg", b"", "empty.jpg"),
        ("fake.bmp", b"no picture", "fake.bmp"),
    ] {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        let error = load(TABLE, Some(folder.path())).unwrap_err().to_string();
        assert!(error.contains(name) && error.contains(needle), "{error}");
        std::fs::remove_file(path).unwrap();
    }
}

#[test]
fn several_pictures_in_a_file_are_refused() {
    use image::codecs::gif::GifEncoder;
    use image::{Delay, Frame};
    let file = File::new("x.gif", "");
    let mut encoder = GifEncoder::new(std::fs::File::create(&file.path).unwrap());
    for seed in 0..2 {
        let frame = Frame::from_parts(
            grey8(seed).to_rgba8(),
            0,
            0,
            Delay::from_numer_denom_ms(9, 1),
        );
        encoder.encode_frame(frame).unwrap();
    }
    drop(encoder);
    let error = Pixels::read(&file.path).unwrap_err().to_string();
    assert!(error.contains("several pictures"), "{error}");
    // A TIFF whose first directory names a second one.
    let file = File::new("x.tiff", "");
    grey8(1).save(&file.path).unwrap();
    assert!(Pixels::read(&file.path).is_ok());
    let mut bytes = std::fs::read(&file.path).unwrap();
    let first = u32::from_le_bytes(bytes[4..8].try_into().unwrap()) as usize;
    let entries = usize::from(u16::from_le_bytes(
        bytes[first..first + 2].try_into().unwrap(),
    ));
    let next = first + 2 + 12 * entries;
    assert_eq!(bytes[next..next + 4], [0; 4]);
    let second = bytes[first..next + 4].to_vec();
    let place = bytes.len() as u32;
    bytes[next..next + 4].copy_from_slice(&place.to_le_bytes());
    bytes.extend(second);
    std::fs::write(&file.path, bytes).unwrap();
    let error = Pixels::read(&file.path).unwrap_err().to_string();
    assert!(error.contains("several pictures"), "{error}");
}

#[test]
fn blank_pictures_are_named_with_their_part() {
    let folder = tempfile::tempdir().unwrap();
    let write = |index: usize, blank: bool| {
        let path = folder.path().join(format!("{index}.png"));
        match blank {
            true => GrayImage::from_pixel(70, 60, Luma([99]))
                .save(path)
                .unwrap(),
            false => grey8(index as u64).save(path).unwrap(),
        }
    };
    let mut parts = Vec::new();
    for blank in 0..7 {
        (0..7).for_each(|index| write(index, index == blank));
        match load(TABLE, Some(folder.path())) {
            // One of five training pictures is blank: said, and no more.
            Ok(splits) => {
                let notes = splits.notes.join("\n");
                assert!(notes.contains(&format!("{blank}.png: blank")), "{notes}");
                parts.push("training");
            }
            Err(error) => {
                let error = error.to_string();
                assert!(error.contains(&format!("{blank}.png)")), "{error}");
                let part = ["validation", "test"]
                    .into_iter()
                    .find(|part| error.contains(part));
                parts.push(part.unwrap());
            }
        }
    }
    parts.sort_unstable();
    assert_eq!(
        parts,
        [
            "test",
            "training",
            "training",
            "training",
            "training",
            "training",
            "validation"
        ]
    );
}
