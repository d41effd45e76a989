//! The Python reader in `docs/model-file.md` gets the weights that were written, in the formulas'
//! orientation.

use std::process::Command;

use crate::common::small;
use sparsecode_formats::{
    AlignedBytes, ModelFile, OwnedDecoder, OwnedModel, Variant, WeightType, write, write_file,
};

#[test]
fn the_ten_lines_of_python() {
    let has_numpy = Command::new("python3")
        .args(["-c", "import numpy"])
        .output();
    if !has_numpy.is_ok_and(|output| output.status.success()) {
        // Past the test harness, which would hide it.
        let line = b"skipped: the documented Python reader: python3 with numpy not found: python3 -m pip install numpy\n";
        let _ = std::io::Write::write_all(&mut std::io::stderr(), line);
        return;
    }
    let page = std::fs::read_to_string(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../docs/model-file.md"
    ))
    .unwrap();
    let code = page
        .split("```python\n")
        .nth(1)
        .unwrap()
        .split("```")
        .next()
        .unwrap();
    // Row by row, after a line with the shape.
    let program = format!(
        "{code}\nfor a in (U, b, S, W):\n    print(*a.shape)\n    print(*(float(x) for x in a.ravel()))\n"
    );
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    for weights in WeightType::FLOAT {
        let bytes = AlignedBytes::from_slice(&write(&small(Variant::Vdl, false), weights).unwrap());
        write_file(&path, &bytes).unwrap();
        let output = Command::new("python3")
            .arg("-c")
            .arg(&program)
            .arg(&path)
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        let text = String::from_utf8(output.stdout).unwrap();
        let lines: Vec<&str> = text.lines().collect();

        let model = OwnedModel::from_file(&ModelFile::read(&bytes).unwrap()).unwrap();
        let encoder = model.encoder.unwrap();
        let OwnedDecoder::Linear { dictionary } = model.decoder else {
            panic!("not linear")
        };
        let expected = [
            ("5 12", encoder.input),
            ("5", encoder.bias),
            ("5 5", transposed(&encoder.recurrent, 5, 5)),
            ("12 5", transposed(&dictionary, 5, 12)),
        ];
        assert_eq!(lines.len(), 2 * expected.len());
        for (pair, (shape, values)) in lines.chunks(2).zip(expected) {
            assert_eq!(pair[0], shape);
            let found: Vec<f32> = pair[1].split(' ').map(|x| x.parse().unwrap()).collect();
            assert_eq!(found, values, "{weights} {shape}");
        }
    }
}

fn transposed(values: &[f32], rows: usize, cols: usize) -> Vec<f32> {
    (0..cols * rows)
        .map(|index| values[index % rows * cols + index / rows])
        .collect()
}
