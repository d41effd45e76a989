//! The GPU against the processor: the same training steps by both engines.

use candle_core::{DType, Device, Tensor};
use sparsecode_tests::{gpu, max_difference};
use sparsecode_trainer::config::Config;
use sparsecode_trainer::inference::{CpuEngine, Engine};
use sparsecode_trainer::model::Autoencoder;
use sparsecode_trainer::train::Learner;

#[test]
fn a_gpu_trains_as_the_cpu_does() {
    let Some(gpu) = gpu() else {
        return;
    };
    for preset in [
        "dead-leaves/sdl",
        "dead-leaves/vdl",
        "dead-leaves/sdl-nl",
        "dead-leaves/vdl-nl",
    ] {
        let config = Config::preset(preset).unwrap();
        let splits = config.data.load(None, config.seed).unwrap();
        let samples = &splits.train.samples[..config.batch_size * splits.train.dim];
        let shape = (config.batch_size, splits.train.dim);
        let inputs = Tensor::from_slice(samples, shape, &Device::Cpu).unwrap();
        let parameters = |engine: &dyn Engine| -> Vec<(&'static str, Vec<f32>)> {
            let model = Autoencoder::init(
                &config.model,
                splits.train.dim,
                true,
                config.seed,
                DType::F32,
                &Device::Cpu,
            )
            .unwrap();
            let mut learner = Learner::new(model, &config).unwrap();
            for _ in 0..3 {
                learner.step(&inputs, 0, &config, engine).unwrap();
            }
            let all = learner.model.parameters();
            all.into_iter()
                .map(|(name, p)| (name, p.flatten_all().unwrap().to_vec1().unwrap()))
                .collect()
        };
        let cpu = parameters(&CpuEngine::default());
        for ((name, cpu), (_, gpu)) in cpu.iter().zip(parameters(gpu.as_ref())) {
            // Three updates of at most a learning rate each; rounding may turn those whose gradient is near 0.
            let difference = max_difference(cpu, &gpu);
            let rate = config
                .optimizer
                .decoder_learning_rate
                .max(config.optimizer.encoder_learning_rate) as f32;
            assert!(
                difference < rate,
                "{preset} {name}: differs by {difference}"
            );
        }
    }
}
