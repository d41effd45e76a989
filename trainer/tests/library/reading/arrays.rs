use sparsecode_formats::NumberType;
use sparsecode_trainer::data::npy::{read_npy, read_npy_f32, write_npy_f32};
use sparsecode_trainer::data::{Hints, Recording};

use super::{File, column, load, read, refused, wave};

/// An array file with these bytes.
fn npy(descr: &str, fortran: bool, shape: &str, data: &[u8]) -> Vec<u8> {
    let order = if fortran { "True" } else { "False" };
    let header = format!("{{'descr': '{descr}', 'fortran_order': {order}, 'shape': {shape}, }}\n");
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((header.len() as u16).to_le_bytes());
    bytes.extend(header.bytes());
    bytes.extend(data);
    bytes
}

#[test]
fn both_orders_hold_the_same_array() {
    // 2×3×4 with value 100 i + 10 j + k.
    let value = |i: u8, j: u8, k: u8| 100 * i + 10 * j + k;
    let (mut rows, mut columns) = (Vec::new(), Vec::new());
    for i in 0..2 {
        for j in 0..3 {
            (0..4).for_each(|k| rows.push(value(i, j, k)));
        }
    }
    for k in 0..4 {
        for j in 0..3 {
            (0..2).for_each(|i| columns.push(value(i, j, k)));
        }
    }
    let c = File::new("c.npy", npy("|u1", false, "(2, 3, 4)", &rows));
    let f = File::new("f.npy", npy("|u1", true, "(2, 3, 4)", &columns));
    assert_eq!(read_npy(&c.path).unwrap(), read_npy(&f.path).unwrap());
    assert_eq!(read_npy(&f.path).unwrap().number_type, NumberType::U8);
    // One column of it, written back in its order.
    let data: Vec<u8> = (0..8).chain(10..18).collect();
    let f = File::new("f.npy", npy("|u1", true, "(8, 2)", &data));
    assert_eq!(read(&f.path, &column("1"))[..3], [10.0, 11.0, 12.0]);
    let recording = Recording::read(&f.path, &Hints::default()).unwrap();
    let clean = f.beside("clean.npy");
    let mut values = recording.channels[1].values.clone();
    values[0] = 99.4;
    values[7] = -3.0;
    let written = recording.write(&clean, &[(1, values)]).unwrap();
    assert_eq!((written.number_type, written.clipped), (NumberType::U8, 1));
    let mut expected = npy("|u1", true, "(8, 2)", &data);
    let start = expected.len() - 8;
    expected[start] = 99;
    expected[start + 7] = 0;
    assert_eq!(std::fs::read(&clean).unwrap(), expected);
}

#[test]
fn every_number_type_is_kept() {
    let values = [1.5f32, -2.25, 0.0, 100.0];
    let cases: [(&str, NumberType, [f32; 4], usize); 8] = [
        ("<f2", NumberType::F16, values, 0),
        (">f4", NumberType::F32, values, 0),
        ("<f8", NumberType::F64, values, 0),
        ("|i1", NumberType::I8, [2.0, -2.0, 0.0, 100.0], 0),
        (">i2", NumberType::I16, [2.0, -2.0, 0.0, 100.0], 0),
        ("<u2", NumberType::U16, [2.0, 0.0, 0.0, 100.0], 1),
        ("<i8", NumberType::I64, [2.0, -2.0, 0.0, 100.0], 0),
        ("|b1", NumberType::U8, [1.0, 0.0, 0.0, 1.0], 3),
    ];
    for (descr, number_type, expected, clipped) in cases {
        let size: usize = descr[2..].parse().unwrap();
        let file = File::new("x.npy", npy(descr, false, "(4,)", &vec![0; 4 * size]));
        let recording = Recording::read(&file.path, &Hints::default()).unwrap();
        assert_eq!(recording.number_type, number_type);
        let clean = file.beside("clean.npy");
        let written = recording.write(&clean, &[(0, values.to_vec())]).unwrap();
        assert_eq!(written.clipped, clipped, "{descr}");
        assert_eq!(read(&clean, &Hints::default()), expected, "{descr}");
        let length = |path| std::fs::read(path).unwrap().len();
        assert_eq!(length(&clean), length(&file.path), "{descr}");
    }
}

#[test]
fn shapes_that_are_no_signal_are_refused_with_what_would_be() {
    let shaped = |shape: &[usize]| {
        let file = File::new("x.npy", "");
        write_npy_f32(&file.path, shape, &wave(shape.iter().product())).unwrap();
        file
    };
    let (error, _) = refused(&shaped(&[2, 1500]).path, &Hints::default());
    assert!(
        error.contains("looks transposed") && error.contains("array.T"),
        "{error}"
    );
    assert!(error.contains("--set data.column=0 to 1"), "{error}");
    // Also where a channel is named: nobody knows in which order.
    assert!(
        refused(&shaped(&[2, 1500]).path, &column("1"))
            .0
            .contains("transposed")
    );
    let (error, _) = refused(&shaped(&[1, 40_000]).path, &Hints::default());
    assert!(error.contains("array.ravel()"), "{error}");
    let (error, usage) = refused(&shaped(&[1500, 2]).path, &Hints::default());
    assert!(
        usage && error.contains("has 2 channels") && error.contains("0 (-1.2"),
        "{error}"
    );
    assert_eq!(read(&shaped(&[1500, 2]).path, &column("1"))[1], wave(4)[3]);
    assert_eq!(
        read(&shaped(&[1500, 1]).path, &Hints::default()),
        wave(1500)
    );
    assert!(
        refused(&shaped(&[10, 5, 2]).path, &Hints::default())
            .0
            .contains("N×channels")
    );
    assert!(
        refused(&shaped(&[0, 0]).path, &Hints::default())
            .0
            .contains("N×channels")
    );
    for (bytes, needle) in [
        (npy("<c8", false, "(1,)", &[0; 8]), "real part"),
        (npy("<U5", false, "(1,)", &[0; 20]), "<U5"),
        (npy("|O", false, "(1,)", &[0; 8]), "astype(float)"),
        (npy("<f4", false, "(2,)", &[0; 7]), "does not match"),
        (
            b"PK\x03\x04 an .npz by its name only".to_vec(),
            "not a .npy",
        ),
    ] {
        let file = File::new("x.npy", bytes);
        let (error, _) = refused(&file.path, &Hints::default());
        assert!(error.contains(needle), "{error}");
    }
}

#[test]
fn facts_of_arrays_and_signals_go_along() {
    let data: Vec<u8> = (0..400u16).flat_map(|v| (v % 77).to_le_bytes()).collect();
    let file = File::new("x.npy", npy("<u2", true, "(50, 8)", &data));
    let splits = load("source = \"npy\"", Some(&file.path)).unwrap();
    assert_eq!(splits.input.number_type, Some(NumberType::U16));
    assert_eq!(splits.input.range, Some([0.0, 76.0]));
    assert_eq!(splits.input.sample_rate, None);
    assert!(
        splits.read.contains("x.npy: 50 samples of 8, u16, 0 to 76"),
        "{}",
        splits.read
    );

    let mut values = wave(1000);
    // The facts are those of the training part.
    values[900] = 50.0;
    let file = File::new("x.npy", "");
    write_npy_f32(&file.path, &[1000], &values).unwrap();
    let table = "source = \"signal\"\nsample_rate = 500";
    let splits = load(table, Some(&file.path)).unwrap();
    assert_eq!(splits.input.sample_rate, Some(500.0));
    assert_eq!(splits.input.number_type, Some(NumberType::F32));
    let [low, high] = splits.input.range.unwrap();
    assert!(low > -1.3 && high < 1.3 && high > 1.2, "{low} {high}");
    assert!(
        splits.read.contains("1000 samples, f32, 500 per second"),
        "{}",
        splits.read
    );
    let (shape, back) = read_npy_f32(&file.path).unwrap();
    assert_eq!((shape, back), (vec![1000], values));
}

#[test]
fn rows_that_look_like_channels_are_told() {
    let file = File::new("x.npy", "");
    let shaped = |rows: usize, columns: usize| {
        write_npy_f32(&file.path, &[rows, columns], &wave(rows * columns)).unwrap();
        load("source = \"npy\"", Some(&file.path))
    };
    let error = shaped(2, 1500).unwrap_err().to_string();
    for needle in ["x.npy", "2×1500", "looks transposed", "save array.T"] {
        assert!(error.contains(needle), "{error} lacks {needle}");
    }
    let notes = shaped(10, 1500).unwrap().notes;
    assert!(
        notes[0].contains("10×1500") && notes[0].contains("array.T"),
        "{notes:?}"
    );
    assert!(shaped(40, 64).unwrap().notes.is_empty());
}
