//! From a trained run to integer arithmetic: what it costs on samples that the ranges were not
//! found from.

use sparsecode_formats::{AlignedBytes, IntegerFile, WeightType};
use sparsecode_runtime::{
    CodeBuffer, GramView, IntegerRefine, Method, ModelView, Refine, SparseCodeBuf, WorkspaceBuf,
};
use sparsecode_tests::runs;
use sparsecode_trainer::data::Dataset;
use sparsecode_trainer::deploy::measure::measure;
use sparsecode_trainer::deploy::{Calibration, HostModel, HostRefine, TrainedRun};
use sparsecode_trainer::lista::inference::CpuEngine;

/// Runs with each kind of patch: images, windows of signals, with and without a contrast of their
/// own.
fn trained() -> Vec<(&'static str, TrainedRun, Dataset, Dataset)> {
    let folder = tempfile::tempdir().unwrap();
    let sizes = [
        "epochs=4",
        "data.train=2000",
        "data.validation=400",
        "data.test=200",
    ];
    [
        ("dead-leaves/vdl", &["model.code_dim=48"][..]),
        ("ecg/vdl", &["model.code_dim=48"]),
        ("vibration/sdl", &["model.code_dim=64"]),
        ("ecg/do", &["model.code_dim=32"]),
    ]
    .into_iter()
    .map(|(preset, more)| {
        let settings = [&sizes[..], more].concat();
        let out = folder.path().join(preset.replace('/', "-"));
        let engine = CpuEngine::default();
        let (run, splits) = runs::train_with(&engine, preset, &settings, &out).unwrap();
        (preset, run, splits.validation, splits.test)
    })
    .collect()
}

/// PSNR and sparsity of a file on samples, by the device's code.
fn figures(bytes: &[u8], samples: &Dataset, peak: f32, refine: Option<Method>) -> (f64, f64) {
    let aligned = AlignedBytes::from_slice(bytes);
    let mut host = HostModel::new(&aligned, "file").unwrap();
    let refine = refine.map(|method| HostRefine {
        method,
        ..host.refinement(30)
    });
    let found = measure(
        &mut host,
        &samples.samples,
        samples,
        f64::from(peak),
        refine.as_ref(),
    )
    .unwrap();
    (found.psnr, found.sparsity)
}

#[test]
fn integers_cost_little() {
    for (name, run, validation, test) in trained() {
        let peak = run.facts.peak;
        let float = run.export(WeightType::F32).unwrap().bytes;
        for method in [Calibration::Max, Calibration::Percentile, Calibration::Mse] {
            let (written, ranges) = run.export_integer(&validation, method, None).unwrap();
            let aligned = AlignedBytes::from_slice(&written.bytes);
            let file = IntegerFile::read(&aligned).unwrap();
            file.prove().unwrap();
            assert!(ranges.code_max > 0.0, "{name}");
            for refine in [None, Some(Method::Fista), Some(Method::CoordinateDescent)] {
                let (psnr, zeros) = figures(&float, &test, peak, refine);
                let (integer_psnr, integer_zeros) = figures(&written.bytes, &test, peak, refine);
                let what = format!("{name}, {method:?}, refined {refine:?}");
                assert!(
                    psnr > 10.0 && zeros > 0.05,
                    "{what}: {psnr} dB, {zeros}: nothing was learned"
                );
                assert!(
                    (psnr - integer_psnr).abs() < 0.2,
                    "{what}: {integer_psnr} dB for {psnr} dB"
                );
                assert!(
                    (zeros - integer_zeros).abs() < 0.01,
                    "{what}: {integer_zeros} zeros for {zeros}"
                );
            }
        }
    }
}

/// Refined codes have the energy of the best code of the 8-bit dictionary, to a thousandth.
#[test]
fn refinement_reaches_the_energy_of_floats() {
    for (name, run, validation, test) in trained() {
        let (written, _) = run
            .export_integer(&validation, Calibration::Max, None)
            .unwrap();
        let aligned = AlignedBytes::from_slice(&written.bytes);
        let mut host = HostModel::new(&aligned, name).unwrap();
        let file = *host.integer().unwrap();
        // Iterations in the file's own terms, not rounded from a tolerance.
        assert!(IntegerRefine::for_model(&file).threshold > 0);

        let float = AlignedBytes::from_slice(&run.export(WeightType::F32).unwrap().bytes);
        let model = ModelView::load(&float).unwrap();
        let mut gram = GramView::new(&model).unwrap();
        let (mut sums, mut start) = ([0.0; 2], 0.0);
        for sample in test.samples.chunks(test.dim).take(40) {
            let mut settings = host.refinement(400);
            settings.settings.tolerance = 0.0;
            let code = host.encode(sample, Some(&settings)).unwrap().clone();
            let energy = |code: &SparseCodeBuf, gram: &mut GramView<'_>, iterations: u32| {
                let settings = Refine {
                    max_iterations: iterations,
                    tolerance: 0.0,
                    start: sparsecode_runtime::Start::Code,
                    ..Refine::for_model(model.spec())
                };
                let mut code = code.clone();
                let mut workspace = WorkspaceBuf::for_model(model.spec());
                let found = gram.descend(sample, &mut code, &settings, &mut workspace, || false);
                f64::from(found.unwrap().energy)
            };
            sums[0] += energy(&code, &mut gram, 0);
            sums[1] += energy(&code, &mut gram, 1000);
            let encoded = host.encode(sample, None).unwrap().clone();
            start += energy(&encoded, &mut gram, 0);
            assert!(code.active() > 0 || encoded.active() == 0);
        }
        let [found, best] = sums;
        assert!(
            found < 1.003 * best,
            "{name}: {found} for {best}, from {start}"
        );
    }
}
