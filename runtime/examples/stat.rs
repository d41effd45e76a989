//! temporary
use sparsecode_runtime::formats::*;
use sparsecode_runtime::*;
fn main() {
    let bytes = AlignedBytes::read("/tmp/vdl-i16.safetensors").unwrap();
    let file = IntegerFile::read(&bytes).unwrap();
    let raw = std::fs::read("/tmp/test32.npy").unwrap();
    let x: Vec<f32> = raw[raw.len() - 2 * 32 * 784 * 4..]
        .chunks(4)
        .map(|b| f32::from_le_bytes(b.try_into().unwrap()))
        .collect();
    let mut view = IntegerView::new(file);
    for iters in [0, 1, 2, 3, 5, 10, 20, 40, 80, 160, 320] {
        let mut active = 0;
        let mut used = 0;
        let mut changed = 0;
        for p in x.chunks(784).take(32) {
            let mut levels: Vec<i16> = p.iter().map(|v| (v * 255.0).round() as i16).collect();
            let _ = view.preprocess(&mut levels);
            view.encode(&levels).unwrap();
            let s = IntegerRefine {
                max_iterations: iters,
                ..IntegerRefine::for_model(&file)
            };
            used += view.refine(&levels, &s, || false).unwrap().iterations;
            active += view.code().count();
            let before: Vec<_> = view.code().collect();
            view.encode(&levels).unwrap();
            let s = IntegerRefine {
                max_iterations: iters + 1,
                ..IntegerRefine::for_model(&file)
            };
            view.refine(&levels, &s, || false).unwrap();
            let mut d = [0i32; 128];
            for (i, l) in before {
                d[i as usize] -= l as i32;
            }
            for (i, l) in view.code() {
                d[i as usize] += l as i32;
            }
            changed += d.iter().filter(|v| **v != 0).count();
        }
        println!(
            "{iters}: active {} changed {} used {}",
            active as f64 / 32.0,
            changed as f64 / 32.0,
            used as f64 / 32.0
        );
    }
}
