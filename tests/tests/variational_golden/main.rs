//! The second paper's released code, tensor by tensor.
//!
//! Sizes, settings, names and tolerances come from the file: see [`sparsecode_tests::release`]. A
//! tensor that nothing here asks for is a failure, and so is one that is missing.

mod figures;
mod run;

use std::collections::BTreeSet;

use sparsecode_tests::release::{Release, Sizes, near, nearly_times_one, settings, tolerances};
use sparsecode_trainer::variational::{
    Base, Estimator, Nesterov, OneCycle, Outcome, Posterior, Relaxation, ScheduleConfig, Select,
    Sparsity, Unit, Warmth, implicit_shape_gradient,
};

use figures::{figures, fista};
use run::{Kind, Pass, Run, Slopes, flat, head_name, names};

/// All that is checked, part by part.
const PARTS: [fn(&Release); 6] = [
    single_passes,
    exact_slopes,
    sequences,
    extras,
    fista,
    figures,
];

#[test]
fn one_pass_of_every_method() {
    Release::all().iter().for_each(single_passes);
}

/// With the exact derivative of the thresholds' draws, too, as near as PyTorch's approximation is.
#[test]
fn exact_slopes_of_thresholds() {
    Release::all().iter().for_each(exact_slopes);
}

#[test]
fn five_steps_end_where_the_release_ends() {
    Release::all().iter().for_each(sequences);
}

#[test]
fn other_estimators_and_selections() {
    Release::all().iter().for_each(extras);
}

#[test]
fn fista_finds_the_codes() {
    Release::all().iter().for_each(fista);
}

#[test]
fn schedules_and_metrics() {
    Release::all().iter().for_each(figures);
}

#[test]
fn no_tensor_is_left_out() {
    for release in Release::all() {
        let missing = release.missing();
        assert!(missing.is_empty(), "the file lacks {missing:?}");
        PARTS.iter().for_each(|part| part(&release));
        let unread = release.unread();
        assert!(unread.is_empty(), "nothing checks {unread:?}");
    }
}

fn zeros(values: &[f64]) -> Vec<bool> {
    values.iter().map(|value| *value == 0.0).collect()
}

/// The numbers of the samples that count.
fn selected(outcome: &Outcome) -> Vec<f64> {
    let counted = outcome.counted.iter();
    counted.map(|counted| counted.sample as f64).collect()
}

fn single_passes(release: &Release) {
    for run in Run::all(release) {
        let of = |what: &str| run.of(what);
        let (objective, encoder) = (run.objective(), run.encoder());
        let (mut dictionary, warmth) = (run.dictionary(), run.single_warmth());
        let noise = run.single_noise();
        let pass = run.pass(&objective, &encoder, &dictionary, (0, warmth), &noise);
        let outcome = &pass.outcome;

        let feature = flat(&pass.encoded.feature);
        release.close("feat", &feature, &tolerances::FORWARD);
        for (head, output) in &pass.encoded.outputs {
            let name = format!("head.{}", head_name(*head));
            release.close(&name, &flat(output), &tolerances::FORWARD);
        }
        let (heads, posterior) = (&pass.encoded.heads, &objective.posterior);
        let divergences: Vec<f64> = heads.iter().map(|h| posterior.divergence(h).0).collect();
        release.close(&of("kl"), &divergences, &tolerances::FORWARD);
        let codes = run.samples(posterior, heads, &noise, warmth);
        let values: Vec<f64> = codes.iter().map(|unit| unit.value).collect();
        release.close(&of("z"), &values, &tolerances::FORWARD);
        let expected = zeros(run.stored("z"));
        assert_eq!(zeros(&values), expected, "{}: active sets", of("z"));
        release.close(&of("recon"), &outcome.errors, &tolerances::FORWARD);
        release.close(&of("loss_j"), &outcome.losses, &tolerances::FORWARD);
        release.close(&of("loss"), &[outcome.loss], &tolerances::FORWARD);
        let (found, expected) = (selected(outcome), release.values(&of("select")));
        assert_eq!(found, expected, "{}", of("select"));
        if run.is_learned() {
            check_thresholds(&run, &pass, &codes);
        }

        release.close(&of("grad.z"), &pass.code_gradients, &tolerances::HEADS);
        run.check_head_gradients(&pass, &of);
        let (parameters, named) = (encoder.parameters(), names(&encoder));
        for ((_, parameter), name) in parameters.iter().zip(&named) {
            let name = of(&format!("grad.{name}"));
            let gradient = pass.gradients.get(parameter).unwrap();
            let whole = run.check_parameter(&name, gradient, &tolerances::PARAMETERS);
            check_whole(release, &name, &whole);
        }

        let mut optimizer = Nesterov::default();
        let rate = run.setting(&settings::RATE);
        let (eta, phi) = (run.setting(&settings::ETA), run.setting(&settings::PHI));
        optimizer.step(&parameters, &pass.gradients, rate).unwrap();
        dictionary.step(outcome, run.sizes.inputs, eta, phi);
        for ((_, parameter), name) in parameters.iter().zip(&named) {
            let name = of(&format!("after1.{name}"));
            run.check_parameter(&name, parameter, &tolerances::WEIGHTS);
        }
        run.check_dictionary(&of("after1.A"), &dictionary, &tolerances::DICTIONARY);
    }
}

/// What a pass says of learned thresholds.
fn check_thresholds(run: &Run<'_>, pass: &Pass, codes: &[Unit]) {
    let (release, of) = (run.release, |what: &str| run.of(what));
    let (gamma, slopes) = (run.stored("noise.g"), run.stored("dg_dalpha"));
    let (samples, units) = (run.sizes.samples, run.sizes.units);
    let posterior = run.posterior();
    let heads = &pass.encoded.heads;
    let divergence = |heads| posterior.threshold_divergence(heads).0;
    let divergences: Vec<f64> = heads.iter().map(divergence).collect();
    release.close(&of("kl_gamma"), &divergences, &tolerances::FORWARD);
    let thresholds: Vec<f64> = codes.iter().map(|unit| unit.threshold).collect();
    release.close(&of("lambda"), &thresholds, &tolerances::FORWARD);

    let heads_of = |place: usize| &heads[place / units / samples * units + place % units];
    let exact = gamma.iter().enumerate().map(|(place, gamma)| {
        let shape = Posterior::threshold_shape(heads_of(place));
        implicit_shape_gradient(shape, *gamma)
    });
    let exact: Vec<f64> = exact.collect();
    release.close(&of("dg_dalpha_exact"), &exact, &tolerances::FORWARD);
    nearly_times_one(&of("dg_dalpha"), slopes, &exact, run.torch_error());
    let moved = thresholds.iter().zip(slopes).enumerate();
    let moved = moved.map(|(place, (threshold, slope))| {
        Posterior::threshold_slopes(heads_of(place), *threshold, *slope)
    });
    let (shapes, rates): (Vec<f64>, Vec<f64>) = moved.map(|[a, b]| (a, b)).unzip();
    release.close(&of("dlambda_dalpha"), &shapes, &tolerances::FORWARD);
    release.close(&of("dlambda_dbeta"), &rates, &tolerances::FORWARD);

    let counted = pass.outcome.counted.iter().flat_map(|by| &by.code);
    let gradients = counted.zip(&pass.code_gradients);
    let gradients: Vec<f64> = gradients
        .map(|(unit, upstream)| posterior.threshold_gradient(unit, *upstream))
        .collect();
    release.close(&of("grad.lambda"), &gradients, &tolerances::HEADS);
}

/// Norm and sum of a whole gradient, of which the file may hold a part. Each number may be as far
/// off as those that it holds.
fn check_whole(release: &Release, name: &str, whole: &[f64]) {
    let stated = |key: &str| release.record(name).get(key)?.as_f64();
    let Some(largest) = stated("absmax_whole") else {
        return;
    };
    let each = release.tolerance(name, &tolerances::PARAMETERS) * largest;
    let count = whole.len() as f64;
    if let Some(norm) = stated("l2_of_whole") {
        let found = whole.iter().map(|value| value * value).sum::<f64>().sqrt();
        let name = format!("{name}: norm of the whole");
        near(&name, &[found], &[norm], each * count.sqrt());
    }
    if let Some(sum) = stated("sum_of_whole") {
        let name = format!("{name}: sum of the whole");
        near(&name, &[whole.iter().sum()], &[sum], each * count);
    }
}

fn exact_slopes(release: &Release) {
    for run in Run::all(release).filter(Run::is_learned) {
        let noise = run.noise(0, Some(run.stored("noise.g")), Slopes::Exact);
        let (objective, encoder) = (run.objective(), run.encoder());
        let (dictionary, warmth) = (run.dictionary(), run.single_warmth());
        let pass = run.pass(&objective, &encoder, &dictionary, (0, warmth), &noise);
        let gradients: Vec<f64> = pass.head_gradients.iter().map(|by| by.shape).collect();
        // The divergence's part has no such error.
        let scale = objective.kl_weight / run.sizes.inputs as f64;
        let parts = gradients.iter().zip(&pass.outcome.divergences);
        let largest = parts.fold(0.0_f64, |most, (gradient, by)| {
            most.max((gradient - scale * by.shape).abs())
        });
        let name = run.of("grad.head.alpha");
        let rounding = release.allowed(&name, &tolerances::HEADS);
        let allowed = run.torch_error() * largest + rounding;
        near(&name, &gradients, release.values(&name), allowed);
    }
}

/// The learning rates, κ, T and η of a sequence's steps.
fn check_schedules(run: &Run<'_>, steps: usize) {
    let of = |what: &str| run.of(&format!("seq.{what}"));
    let (release, setting) = (run.release, |setting| run.setting(setting));
    let calls = setting(&settings::CALLS);
    let cycle = OneCycle {
        peak: setting(&settings::PEAK),
        steps: calls as u64,
        warm_up: setting(&settings::WARM_UP),
    };
    // The scheduler is called after a step for the first time; until then the rate is the peak.
    let rate = |step: u64| match step {
        0 => cycle.peak,
        step => cycle.rate(step),
    };
    let start = setting(&settings::KAPPA);
    let from = setting(&settings::KAPPA_FROM);
    let until = from + (1.0 - start) / setting(&settings::KAPPA_RISE);
    let schedule = ScheduleConfig {
        noise: start,
        noise_from: from / calls,
        noise_until: until / calls,
        cooling: setting(&settings::COOLING),
        coolest: setting(&settings::COOLEST),
    };
    let warmth = |step: u64| schedule.at(step, calls as u64);
    let (first, decay) = (setting(&settings::FIRST_ETA), setting(&settings::ETA_DECAY));
    let epoch = setting(&settings::ETA_FROM) as u64 + 1;
    let eta = |step: u64| first * decay.powf((step / epoch) as f64);
    let check = |name: &str, number: &dyn Fn(u64) -> f64| {
        let numbers: Vec<f64> = (0..steps as u64).map(number).collect();
        release.close(&of(name), &numbers, &tolerances::DOUBLE);
    };
    check("lr", &rate);
    // What a method does not use stays as it is.
    let method = run.method;
    let has_gate = method.sparsity == Kind::Gate;
    let warms = has_gate || method.base == Base::Laplacian;
    check("kappa", &|step| warmth(if warms { step } else { 0 }).noise);
    check("temp", &|step| {
        warmth(if has_gate { step } else { 0 }).temperature
    });
    check("eta", &eta);
    let next = rate(steps as u64);
    release.close(&of("lr_next"), &[next], &tolerances::DOUBLE);
}

fn sequences(release: &Release) {
    for run in Run::all(release) {
        let of = |what: &str| run.of(&format!("seq.{what}"));
        let &[steps] = release.shape(&of("loss")) else {
            panic!("{}: one number a step", of("loss"));
        };
        assert!(steps > 1 && steps <= run.sizes.steps, "{steps} steps");
        if let Some(stated) = release.record("settings").pointer("/sequence/steps") {
            assert_eq!(stated.as_u64(), Some(steps as u64), "steps of the sequence");
        }
        check_schedules(&run, steps);
        let Sizes {
            inputs,
            samples,
            units,
            ..
        } = run.sizes;
        let (objective, encoder) = (run.objective(), run.encoder());
        let (parameters, named) = (encoder.parameters(), names(&encoder));
        let (mut dictionary, mut optimizer) = (run.dictionary(), Nesterov::default());
        let learned = |what: &str, shape: &[usize]| {
            let is_learned = run.is_learned();
            is_learned.then(|| release.shaped(&of(what), shape))
        };
        let gamma = learned("noise.g", &[steps, inputs, samples, units]);
        let by_shape = learned("dg_dalpha_selected", &[steps, inputs, units]);
        let [rates, kappas, temperatures, etas] =
            ["lr", "kappa", "temp", "eta"].map(|name| release.shaped(&of(name), &[steps]));
        let phi = run.setting(&settings::SEQUENCE_PHI);
        let [mut losses, mut choices, mut active, mut norms, mut slopes] =
            [const { Vec::new() }; 5];
        for step in 0..steps {
            let warmth = Warmth {
                noise: kappas[step],
                temperature: temperatures[step],
            };
            let count = inputs * units;
            let gamma = gamma.map(|gamma| &gamma[step * count * samples..][..count * samples]);
            let own = by_shape.map(|slopes| &slopes[step * count..][..count]);
            let noise = run.noise(step, gamma, own.map_or(Slopes::Exact, Slopes::Selected));
            let pass = run.pass(&objective, &encoder, &dictionary, (step, warmth), &noise);
            let outcome = &pass.outcome;
            losses.push(outcome.loss);
            choices.extend(selected(outcome));
            let codes = outcome.counted.iter().flat_map(|by| &by.code);
            let nonzero = codes.filter(|unit| unit.value != 0.0).count();
            active.push(nonzero as f64 / count as f64);
            let draws = outcome.counted.iter().flat_map(|by| &by.draws);
            slopes.extend(draws.zip(&pass.encoded.heads).map(|(draw, heads)| {
                let shape = Posterior::threshold_shape(heads);
                implicit_shape_gradient(shape, draw.gamma)
            }));
            let gradients = &pass.gradients;
            optimizer.step(&parameters, gradients, rates[step]).unwrap();
            dictionary.step(outcome, inputs, etas[step], phi);
            let squares = dictionary.atoms().iter().map(|a| a * a);
            norms.push(squares.sum::<f64>().sqrt());
        }
        release.close(&of("loss"), &losses, &tolerances::LOSS);
        let expected = release.shaped(&of("select"), &[steps, inputs]);
        assert_eq!(choices, expected, "{}", of("select"));
        release.close(&of("active"), &active, &tolerances::EXACT);
        release.close(&of("dict_norm"), &norms, &tolerances::FINAL_DICTIONARY);
        if let Some(expected) = by_shape {
            let name = of("dg_dalpha_selected");
            // The error that the file states is that of the single pass.
            nearly_times_one(&name, expected, &slopes, 2.0 * run.torch_error());
        }
        for ((own, parameter), name) in parameters.iter().zip(&named) {
            let file = of(&format!("final.{name}"));
            run.check_parameter(&file, parameter, &tolerances::FINAL_WEIGHTS);
            let file = of(&format!("momentum.{name}"));
            let velocity = optimizer.velocity(own).unwrap();
            run.check_parameter(&file, velocity, &tolerances::MOMENTUM);
        }
        run.check_dictionary(&of("A"), &dictionary, &tolerances::FINAL_DICTIONARY);
    }
}

/// Single passes that differ from those of a method: the name is the method's, and what differs.
fn extras(release: &Release) {
    let names = release
        .names()
        .filter_map(|name| name.strip_prefix("extra."));
    let records: BTreeSet<&str> = names.filter_map(|name| name.split('.').next()).collect();
    assert!(!records.is_empty(), "no tensors extra.");
    for record in records {
        let of = |what: &str| format!("extra.{record}.{what}");
        let (name, change) = record.rsplit_once('_').expect("method_change");
        let run = Run::all(release).find(|run| run.method.name == name);
        let run = run.unwrap_or_else(|| panic!("extra.{record}: no method {name}"));
        let mut objective = run.objective();
        match (change, &mut objective.posterior.sparsity) {
            ("avg", _) => objective.select = Select::Average,
            ("iwae", _) => objective.select = Select::Iwae,
            ("sub", _) => objective.posterior.estimator = Estimator::Subgradient,
            ("gumbel", Sparsity::Gate { relaxation, .. }) => *relaxation = Relaxation::Soft,
            _ => panic!("extra.{record}: what does {change} change?"),
        }
        let (inputs, samples) = (run.sizes.inputs, run.sizes.samples);
        let (encoder, mut dictionary) = (run.encoder(), run.dictionary());
        let (warmth, noise) = (run.single_warmth(), run.single_noise());
        let pass = run.pass(&objective, &encoder, &dictionary, (0, warmth), &noise);
        release.close(&of("loss"), &[pass.outcome.loss], &tolerances::FORWARD);
        let mut weights = vec![0.0; inputs * samples];
        for counted in &pass.outcome.counted {
            weights[counted.input * samples + counted.sample] = counted.weight;
        }
        release.close(&of("weight"), &weights, &tolerances::FORWARD);
        if release.has(&of("z")) {
            let (posterior, heads) = (&objective.posterior, &pass.encoded.heads);
            let codes = run.samples(posterior, heads, &noise, warmth);
            let values: Vec<f64> = codes.iter().map(|unit| unit.value).collect();
            release.close(&of("z"), &values, &tolerances::FORWARD);
        }
        run.check_head_gradients(&pass, &of);
        let (eta, phi) = (run.setting(&settings::ETA), run.setting(&settings::PHI));
        dictionary.step(&pass.outcome, inputs, eta, phi);
        run.check_dictionary(&of("after1.A"), &dictionary, &tolerances::DICTIONARY);
    }
}
