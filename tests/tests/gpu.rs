//! The GPU against the CPU: the same training steps, with the engine that exists today.

#[cfg(not(feature = "cuda"))]
#[test]
fn a_gpu_trains_as_the_cpu_does() {
    sparsecode_tests::skipped(
        "the GPU tests: built without CUDA; on a machine with a GPU, cargo test -p sparsecode-tests --features cuda",
    );
}

#[cfg(feature = "cuda")]
#[test]
fn a_gpu_trains_as_the_cpu_does() {
    use candle_core::{DType, Device, Tensor};
    use sparsecode_tests::max_difference;
    use sparsecode_trainer::config::Config;
    use sparsecode_trainer::inference::PlainFista;
    use sparsecode_trainer::model::Autoencoder;
    use sparsecode_trainer::train::Learner;

    let gpu = match Device::new_cuda(0) {
        Ok(gpu) => gpu,
        Err(error) => return sparsecode_tests::skipped(&format!("the GPU tests: {error}")),
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
        let parameters = |device: &Device| -> Vec<(&'static str, Vec<f32>)> {
            let shape = (config.batch_size, splits.train.dim);
            let inputs = Tensor::from_slice(samples, shape, device).unwrap();
            let model = Autoencoder::init(
                &config.model,
                splits.train.dim,
                true,
                config.seed,
                DType::F32,
                device,
            )
            .unwrap();
            let mut learner = Learner::new(model, &config).unwrap();
            for _ in 0..3 {
                learner.step(&inputs, 0, &config, &PlainFista).unwrap();
            }
            let all = learner.model.parameters();
            all.into_iter()
                .map(|(name, p)| (name, p.flatten_all().unwrap().to_vec1().unwrap()))
                .collect()
        };
        for ((name, cpu), (_, cuda)) in parameters(&Device::Cpu).iter().zip(parameters(&gpu)) {
            // Three updates of at most a learning rate each; rounding may turn those whose gradient is near 0.
            let difference = max_difference(cpu, &cuda);
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
