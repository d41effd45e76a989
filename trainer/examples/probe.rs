//! Probe.
use candle_core::{DType, Device, Tensor};
use sparsecode_trainer::{
    config::Config,
    evaluate::Samples,
    inference::{Energy, Engine, PlainFista},
    model::{Autoencoder, Decoder},
    train::Learner,
};
use std::time::Instant;
fn main() {
    let a: Vec<String> = std::env::args().collect();
    let config = Config::preset(&a[1]).unwrap();
    let batches: usize = a[2].parse().unwrap();
    let splits = config
        .data
        .load(Some(std::path::Path::new("../shared/data")), 1)
        .unwrap();
    let train = Samples::new(splits.train, &Device::Cpu).unwrap();
    let model = Autoencoder::init(
        &config.model,
        784,
        config.has_encoder(),
        31,
        DType::F32,
        &Device::Cpu,
    )
    .unwrap();
    let mut learner = Learner::new(model, &config).unwrap();
    let fast = std::env::var("FAST").is_ok();
    let cpu = sparsecode_trainer::inference::CpuEngine::default();
    let engine: &dyn Engine = if fast { &cpu } else { &PlainFista };
    for b in 0..batches {
        let inputs = train.inputs.narrow(0, b * 250 % 50000, 250).unwrap();
        let t = Instant::now();
        let o = learner.step(&inputs, 0, &config, engine).unwrap();
        let step = t.elapsed().as_secs_f64();
        if b % (batches / 10).max(1) == 0 || b + 1 == batches {
            let z = &o.inference.codes;
            let nz = 1.0
                - z.eq(0.0)
                    .unwrap()
                    .to_dtype(DType::F32)
                    .unwrap()
                    .mean_all()
                    .unwrap()
                    .to_scalar::<f32>()
                    .unwrap();
            let act = match &learner.model.decoder {
                Decoder::OneHidden {
                    hidden,
                    hidden_bias,
                    ..
                } => {
                    let h = z
                        .matmul(&hidden.t().unwrap())
                        .unwrap()
                        .broadcast_add(hidden_bias)
                        .unwrap();
                    h.gt(0.0)
                        .unwrap()
                        .to_dtype(DType::F32)
                        .unwrap()
                        .mean_all()
                        .unwrap()
                        .to_scalar::<f32>()
                        .unwrap()
                }
                _ => 0.0,
            };
            let start = learner
                .model
                .encoder
                .as_ref()
                .map(|e| e.forward(&inputs).unwrap());
            let snz = start.map(|s| {
                s.gt(0.0)
                    .unwrap()
                    .to_dtype(DType::F32)
                    .unwrap()
                    .mean_all()
                    .unwrap()
                    .to_scalar::<f32>()
                    .unwrap()
            });
            let codes = learner
                .model
                .encoder
                .as_ref()
                .map(|e| e.forward(&inputs).unwrap());
            let start: Tensor = codes.clone().unwrap_or_else(|| {
                inputs
                    .narrow(1, 0, 128)
                    .unwrap()
                    .zeros_like()
                    .unwrap()
                    .contiguous()
                    .unwrap()
            });
            let t = Instant::now();
            let e = Energy::new(
                &learner.model.decoder,
                &inputs,
                codes.as_ref(),
                &config.inference,
            );
            if config.model.hidden_dim == 0 {
                let _ = e.gradient(&start).unwrap();
            }
            let te = t.elapsed().as_secs_f64();
            let t = Instant::now();
            let i = engine.infer(&e, &start).unwrap();
            let ti = t.elapsed().as_secs_f64();
            let (its, per) = (i.iterations, ti / i.iterations as f64);
            print!(
                "infer {:.2} ms, {its} its, {:.4} ms/it; ",
                ti * 1e3,
                per * 1e3
            );
            println!(
                "batch {b}: {:.2} ms, iterations {}, mean steps {:.1}, nonzero {:.3}, start nonzero {:?}, hidden active {:.3}, energy::new {:.2} ms",
                step * 1e3,
                o.inference.iterations,
                o.inference.mean_steps(),
                nz,
                snz,
                act,
                te * 1e3
            );
        }
    }
}
