//! Frames through a model with local contrast normalisation.

use sparsecode_formats::{Contrast, InputShape, OwnedModel, WeightType};
use sparsecode_runtime::stream::{
    ContrastFrameStream, FrameScratch, Hann, LocalContrast, Uniform, Weighting,
};
use sparsecode_runtime::{Model, SparseCode, Workspace};

use crate::common::{Random, Shape, file, random_model};
use crate::contrast::{RAW, local, local_contrast};
use crate::whole::{Grid, close, stir, whole};

type Thermal<K> = ContrastFrameStream<20, 4, 4, 16, 3, 5, K>;

fn thermal<K: Weighting>(
    stream: &mut Thermal<K>,
    settings: &LocalContrast<5>,
    pixels: &[f32],
    mut denoise: impl FnMut(&mut [f32]),
) -> Vec<f32> {
    let mut scratch = FrameScratch::new();
    let mut output = Vec::new();
    for (y, line) in pixels.as_chunks::<20>().0.iter().enumerate() {
        let mut line = *line;
        let done = stream.push(settings, &mut line, &mut scratch, |patch| denoise(patch));
        assert_eq!(done, y >= Thermal::<K>::LATENCY);
        if done {
            output.extend(line);
        }
    }
    let mut line = [f32::NAN; 20];
    stream.finish(
        settings,
        &mut line,
        &mut scratch,
        |patch| denoise(patch),
        |line| output.extend(*line),
    );
    assert_eq!(output.len(), pixels.len());
    output
}

fn thermal_model() -> OwnedModel {
    let shape = Shape {
        input: 16,
        code: 12,
        hidden: 0,
        lista: Some(2),
    };
    let mut model = random_model(shape, 23);
    model.spec.input_shape = InputShape {
        height: 4,
        width: 4,
    };
    model.spec.preprocessing.contrast = Contrast::Local {
        window: 5,
        sigma: 2.0,
        floor: 0.1,
    };
    model
}

#[test]
fn raw_lines_come_out_as_from_the_whole_image() {
    let bytes = file(&thermal_model(), WeightType::I8);
    let model = Model::<16, 12>::load(&bytes).unwrap();
    let preprocessing = model.spec().preprocessing;
    let settings = LocalContrast::new(&preprocessing).unwrap();
    let (mut code, mut workspace) = (SparseCode::new(), Workspace::new());
    let mut denoise = |patch: &mut [f32]| {
        let patch: &mut [f32; 16] = patch.try_into().unwrap();
        model.denoise(patch, None, &mut code, &mut workspace, || false);
    };
    let grid = Grid {
        rows: 4,
        columns: 4,
        hop: 3,
        hop_across: 3,
        down: vec![1.0; 4],
        across: vec![1.0; 4],
    };
    let (mut stream, mut tapered) = (Thermal::<Uniform>::new(), Thermal::<Hann>::new());
    for height in 0..24 {
        let pixels = Random(height).vector(20 * height as usize, 2.0);
        // Everything on the whole image.
        let (shift, scale) = (
            f64::from(preprocessing.mean),
            f64::from(preprocessing.deviation),
        );
        let scaled: Vec<f64> = pixels
            .iter()
            .map(|x| (f64::from(*x) - shift) / scale)
            .collect();
        let [normalised, mean, deviation] = local_contrast(&scaled, 20, 5, 2.0, 0.1);
        let normalised: Vec<f32> = normalised.iter().map(|v| *v as f32).collect();
        let (clean, _) = whole(&normalised, 20, &grid, &mut denoise);
        let found = thermal(&mut stream, &settings, &pixels, &mut denoise);
        for i in 0..pixels.len() {
            let expected = (clean[i] * deviation[i] + mean[i]) * scale + shift;
            // A code may change a little where a component is at its threshold: that is continuous.
            close(found[i], expected, 2e-5);
        }
        for (found, pixel) in thermal(&mut tapered, &settings, &pixels, |_| {})
            .iter()
            .zip(&pixels)
        {
            close(*found, f64::from(*pixel), 1e-5);
        }
    }
}

#[test]
fn a_stream_of_frames_may_be_cut_off() {
    let settings = local::<5>(2.0, 0.1, RAW);
    let pixels = Random(11).vector(20 * 17, 1.0);
    let mut stream = Thermal::<Uniform>::new();
    let first = thermal(&mut stream, &settings, &pixels, stir);
    assert_eq!(thermal(&mut stream, &settings, &pixels, stir), first);
    let mut scratch = FrameScratch::new();
    for lines in 0..12 {
        for line in pixels.as_chunks::<20>().0.iter().take(lines) {
            let _ = stream.push(&settings, &mut line.clone(), &mut scratch, |patch| {
                patch.fill(f32::NAN);
            });
        }
        stream.reset();
        assert_eq!(thermal(&mut stream, &settings, &pixels, stir), first);
    }
}
