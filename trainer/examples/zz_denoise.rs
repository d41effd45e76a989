#![allow(missing_docs)]
//! Scratch: figures of a run's files.
use candle_core as _;
use rand_distr::{Distribution, StandardNormal};
use sparsecode_formats::*;
use sparsecode_trainer::data::*;
use sparsecode_trainer::denoising::level;
use sparsecode_trainer::deploy::denoise::{Layout, denoise};
use sparsecode_trainer::deploy::*;
use sparsecode_trainer::rng::{Stream, generator};
use sparsecode_trainer::run::RunFolder;
fn main() {
    let args: Vec<String> = std::env::args().collect();
    let run = DenoiserRun::open(&RunFolder::new(&args[1])).unwrap();
    let names: Vec<String> = args[2]
        .split(',')
        .map(|n| format!("/work/shared/data/sensor2/ecg_{n}.npy"))
        .collect();
    let signals: Vec<Vec<f32>> = names
        .iter()
        .map(|p| {
            let r = Recording::read(p.as_ref(), &Hints::default()).unwrap();
            sparsecode_trainer::data::without_drift(&r.channels[0].values, 361)
        })
        .collect();
    let splits = run.config.data.load(None, run.config.seed).unwrap();
    let mut files: Vec<(String, Vec<u8>)> = vec![];
    for w in [WeightType::F32, WeightType::I8] {
        files.push((format!("f32 {w}"), run.export(w).unwrap().bytes));
    }
    for s in [GramStorage::Stored, GramStorage::Built] {
        let (w, r) = run
            .export_integer(
                &splits.validation,
                Calibration::Max,
                None,
                WeightType::I8,
                s,
            )
            .unwrap();
        println!("{r:?} point {} gram {}", 0, w.report.gram_fraction);
        files.push((format!("int {s:?}"), w.bytes));
    }
    for (name, bytes) in files {
        let aligned = AlignedBytes::from_slice(&bytes);
        let mut host = HostModel::new(&aligned, "x").unwrap();
        let hop = host.stream().unwrap().hop;
        print!("{name:12} {:6} bytes:", bytes.len());
        for snr in [0.0, 5.0, 10.0, 20.0, 30.0] {
            let mut total = 0.0;
            let mut active = 0.0;
            let mut n = 0.0;
            for (i, clean) in signals.iter().enumerate() {
                let m = clean.iter().map(|&x| f64::from(x)).sum::<f64>() / clean.len() as f64;
                let p = clean
                    .iter()
                    .map(|&x| (f64::from(x) - m).powi(2))
                    .sum::<f64>()
                    / clean.len() as f64;
                let sigma = (p.sqrt() * level(snr)) as f32;
                let mut rng = generator(1000 + i as u64, Stream::TestData);
                let noisy: Vec<f32> = clean
                    .iter()
                    .map(|x| {
                        let d: f32 = StandardNormal.sample(&mut rng);
                        x + sigma * d
                    })
                    .collect();
                host.set_noise_level(sigma);
                let out = denoise(
                    &mut host,
                    &noisy,
                    Layout::Signal { hop },
                    None,
                    &mut |w, _| {
                        active += w.active as f64;
                        n += 1.0;
                    },
                )
                .unwrap();
                let r = 720..clean.len() - 720;
                let e: f64 = r
                    .clone()
                    .map(|k| f64::from(out[k] - clean[k]).powi(2))
                    .sum();
                let g: f64 = r.map(|k| f64::from(noisy[k] - clean[k]).powi(2)).sum();
                total += 10.0 * (g / e).log10();
            }
            print!(" {:6.2} ({:.1})", total / signals.len() as f64, active / n);
        }
        println!();
    }
}
