//! What takes no network: FISTA, the derivatives of Gamma draws, learning rates and metrics.

use std::collections::BTreeMap;

use sparsecode_formats::CodeSign;
use sparsecode_tests::release::{Release, near, nearly_times_one, settings, tolerances};
use sparsecode_trainer::variational::metrics::{self, Rows};
use sparsecode_trainer::variational::{
    Base, BatchFista, Dictionary, Draw, Estimator, Given, Heads, Objective, OneCycle, Posterior,
    Select, ShiftGradient, Sparsity, Warmth, implicit_shape_gradient, lipschitz,
};

use crate::run::transposed;

pub(crate) fn fista(release: &Release) {
    let &[_, pixels] = release.shape("fista.x") else {
        panic!("fista.x: inputs × P");
    };
    let x = release.values("fista.x");
    let names = release
        .names()
        .filter_map(|name| name.strip_suffix(".codes"));
    let runs: Vec<&str> = names.filter(|name| name.starts_with("fista.")).collect();
    assert!(!runs.is_empty(), "no codes of FISTA");
    for run in runs {
        let name = format!("{run}.codes");
        let number = |key: &str| release.number(&name, key);
        let text = release.fact(&name, "/dictionary").as_str().unwrap();
        let matrix = text.split_whitespace().next().unwrap();
        assert_eq!(release.shape(matrix)[0], pixels, "{matrix}: its rows");
        let mut atoms = transposed(release.values(matrix), pixels);
        if text.contains("unit") {
            for atom in atoms.chunks_exact_mut(pixels) {
                let norm = atom.iter().map(|a| a * a).sum::<f64>().sqrt();
                atom.iter_mut().for_each(|a| *a /= norm);
            }
        }
        let expected = [number("/L")];
        let found = [lipschitz(&atoms, pixels)];
        let allowed = release.tolerance(&name, &tolerances::REGRESSION);
        nearly_times_one(&format!("{name}: L"), &found, &expected, allowed);
        let fista = BatchFista {
            sign: CodeSign::Signed,
            sparsity: number("/tau"),
            tolerance: number("/tol"),
            most: number("/max_iter") as usize,
        };
        let found = fista.infer(x, &atoms, pixels);
        assert_eq!(found.iterations as f64, number("/iterations"), "{name}");
        release.close(&name, &found.codes, &tolerances::FISTA);
        let active = |codes: &[f64]| codes.iter().map(|z| *z != 0.0).collect::<Vec<_>>();
        let expected = active(release.values(&name));
        assert_eq!(active(&found.codes), expected, "{name}: active sets");

        let name = format!("{run}.after1.A");
        if release.has(&name) {
            let mut dictionary = Dictionary::new(atoms, pixels);
            let eta = release.setting(&name, &settings::OWN_ETA);
            let phi = release.setting(&name, &settings::OWN_PHI);
            step(&mut dictionary, &found.codes, x, [eta, phi]);
            let atoms = transposed(dictionary.atoms(), dictionary.code_dim());
            release.close(&name, &atoms, &tolerances::DICTIONARY);
        }
    }
}

/// The dictionary's step with codes that come from elsewhere: those of a posterior without noise.
fn step(dictionary: &mut Dictionary, codes: &[f64], x: &[f64], [eta, phi]: [f64; 2]) {
    let heads = codes.iter().map(|code| Heads {
        shift: *code,
        ..Heads::default()
    });
    let heads: Vec<Heads<f64>> = heads.collect();
    let objective = Objective {
        posterior: Posterior {
            base: Base::Gaussian,
            sparsity: Sparsity::Dense,
            spread: 1.0,
            estimator: Estimator::Straight,
            shift_gradient: ShiftGradient::Single,
        },
        samples: 1,
        select: Select::Average,
        kl_weight: 0.0,
    };
    let sampler = Given {
        posterior: objective.posterior,
        heads: &heads,
        code_dim: dictionary.code_dim(),
        warmth: Warmth {
            noise: 1.0,
            temperature: 1.0,
        },
        draw: |_, _, _| Draw::default(),
    };
    let inputs: Vec<f32> = x.iter().map(|value| *value as f32).collect();
    let outcome = objective.evaluate(&inputs, &heads, dictionary, &sampler);
    dictionary.step(&outcome, x.len() / dictionary.input_dim(), eta, phi);
}

pub(crate) fn figures(release: &Release) {
    gamma_table(release);
    let rates = release.names().filter(|name| name.starts_with("lr."));
    let rates: Vec<&str> = rates.collect();
    assert!(!rates.is_empty(), "no tensors lr.");
    for name in rates {
        let (_, calls) = name.split_once(".n").expect("lr.n and the number of calls");
        let cycle = OneCycle {
            peak: release.number(name, "/peak"),
            steps: calls.parse().expect("lr.n and the number of calls"),
            warm_up: release.number(name, "/warmup_proportion"),
        };
        let calls = release.fact(name, "/calls").as_array().unwrap().iter();
        let rates = calls.map(|call| cycle.rate(call.as_u64().unwrap()));
        let rates: Vec<f64> = rates.collect();
        let allowed = release.tolerance(name, &tolerances::DOUBLE);
        nearly_times_one(name, &rates, release.values(name), allowed);
    }
    let mut groups: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    let names = release
        .names()
        .filter_map(|name| name.strip_prefix("metrics."));
    for (group, part) in names.filter_map(|name| name.split_once('.')) {
        groups.entry(group).or_default().push(part);
    }
    assert!(!groups.is_empty(), "no tensors metrics.");
    for (group, parts) in groups {
        let names: Vec<String> = parts
            .iter()
            .map(|part| format!("metrics.{group}.{part}"))
            .collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        match (parts.as_slice(), names.as_slice()) {
            (["codes", "entropy"], &[codes, entropy]) => information(release, codes, entropy),
            (["codes", "kl"], &[codes, kl]) => collapse(release, codes, kl),
            (["est", "true"], &[found, truth]) => support(release, found, truth),
            (["grads", "value"], &[gradients, value]) => {
                let Rows { values, width } = rows(release, gradients);
                let mut gradients = metrics::SignalToNoise::default();
                for pass in values.chunks_exact(width) {
                    gradients.push(pass.iter().copied());
                }
                release.close(value, &gradients.ratios(), &tolerances::DOUBLE);
            }
            (["codes", "dict", "x"], &[codes, dictionary, x]) => {
                let found = metrics::recovered_dictionary(rows(release, x), rows(release, codes));
                release.close(dictionary, &found, &tolerances::REGRESSION);
            }
            (other, _) => panic!("metrics.{group}: no check of {other:?}"),
        }
    }
}

/// ∂g/∂α of draws from Gamma(α, 1): the trainer's, and what PyTorch gives.
fn gamma_table(release: &Release) {
    let table = ["alpha", "g", "exact", "torch"].map(|name| format!("gamma_table.{name}"));
    let [alpha, g, exact, torch] = table.each_ref().map(|name| release.values(name));
    assert_eq!(alpha.len(), g.len(), "{table:?}");
    let pairs = alpha.iter().zip(g);
    let found: Vec<f64> = pairs
        .map(|(a, g)| implicit_shape_gradient(*a, *g))
        .collect();
    let allowed = release.tolerance(&table[2], &tolerances::SLOPE);
    nearly_times_one(&table[2], &found, exact, allowed);
    let allowed = release.setting(&table[3], &settings::TORCH);
    nearly_times_one(&table[3], torch, &found, allowed + tolerances::ROUNDING);
}

fn rows<'a>(release: &'a Release, name: &str) -> Rows<'a> {
    let &[_, width] = release.shape(name) else {
        panic!("{name}: one row a sample");
    };
    Rows {
        values: release.values(name),
        width,
    }
}

fn information(release: &Release, codes: &str, entropy: &str) {
    let edges = release.setting(codes, &settings::EDGES) as usize;
    let found = metrics::information(rows(release, codes), edges);
    release.close(entropy, &found.entropies, &tolerances::DOUBLE);
    let all = [found.joint, found.multi_information()];
    let expected = ["/joint_entropy_bits", "/multi_information_bits"];
    let expected = expected.map(|key| release.number(codes, key));
    let allowed = release.tolerance(entropy, &tolerances::DOUBLE);
    nearly_times_one(codes, &all, &expected, allowed);
}

fn collapse(release: &Release, codes: &str, kl: &str) {
    let kinds = [
        (codes, "/coefficient_collapse_percent"),
        (kl, "/posterior_collapse_percent"),
    ];
    for (name, key) in kinds {
        let limit = release.setting(name, &settings::COLLAPSED);
        let found = 100.0 * metrics::collapsed(rows(release, name), limit);
        nearly_exact(release, name, found, release.number(name, key));
    }
}

fn support(release: &Release, found: &str, truth: &str) {
    assert_eq!(release.shape(found), release.shape(truth), "{found}");
    let accuracy = metrics::support_accuracy(rows(release, found), rows(release, truth));
    let expected = release.number(found, "/support_accuracy");
    nearly_exact(release, found, accuracy, expected);
}

/// A figure that the release computed in double precision.
fn nearly_exact(release: &Release, name: &str, found: f64, expected: f64) {
    let allowed = release.tolerance(name, &tolerances::DOUBLE) * expected.abs().max(1.0);
    near(name, &[found], &[expected], allowed);
}
