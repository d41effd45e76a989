use candle_core::DType;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::*;
use crate::run::State;

const CPU: Device = Device::Cpu;

fn rng(seed: u64) -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(seed)
}

/// Numbers from −1 to 1.
fn numbers(shape: &[usize], rng: &mut impl Rng) -> Tensor {
    let values: Vec<f64> = (0..shape.iter().product())
        .map(|_| rng.random_range(-1.0..1.0))
        .collect();
    Tensor::from_vec(values, shape, &CPU).unwrap()
}

fn list(tensor: &Tensor) -> Vec<f64> {
    let tensor = tensor.to_dtype(DType::F64).unwrap();
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

/// The same numbers in 64 bits.
fn double(variable: &mut Var) {
    let wide = variable.as_tensor().to_dtype(DType::F64).unwrap();
    *variable = Var::from_tensor(&wide).unwrap();
}

fn double_layer(convolution: &mut Convolution) {
    double(&mut convolution.weight);
    double(&mut convolution.bias);
}

fn double_trunk(trunk: &mut [(Convolution, BatchNorm)]) {
    for (convolution, norm) in trunk {
        double_layer(convolution);
        let BatchNorm {
            weight,
            bias,
            running_mean,
            running_variance,
        } = norm;
        [weight, bias, running_mean, running_variance]
            .into_iter()
            .for_each(double);
    }
}

/// Compares each derivative of a scalar with a central difference over ±`step`. Where there is a
/// ReLU, a long step goes over kinks.
fn check_gradients(
    variables: &[(String, Var)],
    scalar: impl Fn() -> Tensor,
    (step, tolerance): (f64, f64),
) {
    let gradients = scalar().backward().unwrap();
    let value = || scalar().to_scalar::<f64>().unwrap();
    let mut largest = 0.0f64;
    for (name, variable) in variables {
        let found = list(gradients.get(variable).unwrap());
        let before = list(variable);
        let shape = variable.shape().clone();
        for place in 0..before.len() {
            let moved = |by: f64| {
                let mut values = before.clone();
                values[place] += by;
                variable
                    .set(&Tensor::from_vec(values, &shape, &CPU).unwrap())
                    .unwrap();
                value()
            };
            let expected = (moved(step) - moved(-step)) / (2.0 * step);
            moved(0.0);
            let found = found[place];
            largest = largest.max(found.abs());
            assert!(
                (found - expected).abs() < tolerance * (1.0 + expected.abs()),
                "{name} {place}: {found}, by differences {expected}"
            );
        }
    }
    assert!(largest > 0.1, "{largest}");
}

fn geometry(stride: usize, padding: usize, is_transposed: bool) -> Geometry {
    Geometry {
        inputs: 3,
        outputs: 2,
        stride,
        padding,
        is_transposed,
    }
}

fn wide(geometry: Geometry, seed: u64) -> Convolution {
    let mut convolution = Convolution::init(geometry, &mut rng(seed), &CPU).unwrap();
    double_layer(&mut convolution);
    convolution
}

/// Every stride and padding, whether the last pixels are reached or not.
fn geometries_and_sides() -> impl Iterator<Item = (usize, usize, usize)> {
    let strides = [1, 2].into_iter();
    strides.flat_map(|s| {
        [0, 1]
            .into_iter()
            .flat_map(move |p| [5, 6].map(|side| (s, p, side)))
    })
}

/// A convolution is its sum, and a transposed one sends back along the same weights.
#[test]
fn convolutions_are_what_their_formulas_say() {
    for (stride, padding, side) in geometries_and_sides() {
        let straight = wide(geometry(stride, padding, false), 1);
        let x = numbers(&[2, 3, side, side], &mut rng(2));
        let y = straight.forward(&x, Pass::Train).unwrap();
        let out = straight.geometry.side(side).unwrap();
        assert_eq!(y.dims(), [2, 2, out, out]);
        let (x_list, weight, bias) = (list(&x), list(&straight.weight), list(&straight.bias));
        let places = (0..2 * 2 * out * out).map(|n| {
            [
                n / (2 * out * out),
                n / (out * out) % 2,
                n / out % out,
                n % out,
            ]
        });
        for ([image, to, row, column], found) in places.zip(list(&y)) {
            let mut sum = bias[to];
            for (from, down, across) in (0..3 * 16).map(|n| (n / 16, n / 4 % 4, n % 4)) {
                let at = |place: usize, offset: usize| {
                    (place * stride + offset)
                        .checked_sub(padding)
                        .filter(|&at| at < side)
                };
                if let (Some(y), Some(x)) = (at(row, down), at(column, across)) {
                    let pixel = x_list[((image * 3 + from) * side + y) * side + x];
                    sum += pixel * weight[((to * 3 + from) * 4 + down) * 4 + across];
                }
            }
            assert!((sum - found).abs() < 1e-12, "{stride} {padding} {side}");
        }

        let mut back = wide(geometry(stride, padding, true), 3);
        let zero = Tensor::zeros(2, DType::F64, &CPU).unwrap();
        back.bias.set(&zero).unwrap();
        let small = numbers(&[2, 3, side, side], &mut rng(4));
        let grown = back.forward(&small, Pass::Train).unwrap();
        let width = back.geometry.side(side).unwrap();
        assert_eq!(grown.dims(), [2, 2, width, width]);
        // ⟨grow(a), b⟩ = ⟨a, shrink(b)⟩, with the weight's axes as they are.
        let other = numbers(grown.dims(), &mut rng(5));
        back.geometry.is_transposed = false;
        let shrunk = other
            .conv2d(back.weight.as_tensor(), padding, stride, 1, 1)
            .unwrap();
        let dot = |a: &Tensor, b: &Tensor| -> f64 {
            list(a).iter().zip(list(b)).map(|(a, b)| a * b).sum()
        };
        let (left, right) = (dot(&grown, &other), dot(&small, &shrunk));
        assert!((left - right).abs() < 1e-10, "{left} {right}");
    }
}

#[test]
fn gradients_of_convolutions() {
    for (stride, padding, side) in geometries_and_sides() {
        for is_transposed in [false, true] {
            let convolution = wide(geometry(stride, padding, is_transposed), 6);
            let x = Var::from_tensor(&numbers(&[2, 3, side, side], &mut rng(7))).unwrap();
            let out = convolution.geometry.side(side).unwrap();
            let by = numbers(&[2, 2, out, out], &mut rng(8));
            let mut variables = convolution.parameters("conv").to_vec();
            variables.push(("x".to_owned(), x.clone()));
            let scalar = || {
                let y = convolution.forward(x.as_tensor(), Pass::Train).unwrap();
                (y * &by).unwrap().sum_all().unwrap()
            };
            check_gradients(&variables, scalar, (1e-5, 1e-8));
        }
    }
}

fn norm() -> BatchNorm {
    let variable = |values: [f64; 2]| Var::new(&values, &CPU).unwrap();
    BatchNorm {
        weight: variable([2.0, -0.5]),
        bias: variable([0.25, 1.0]),
        running_mean: variable([0.5, -1.0]),
        running_variance: variable([4.0, 0.25]),
    }
}

#[test]
fn batch_normalisation_is_its_formula() {
    let norm = norm();
    // Channel 0 of both images is 1 to 4 and 5 to 8, channel 1 is 0 but for one 8.
    let x = [
        1.0, 2.0, 3.0, 4.0, 0.0, 0.0, 0.0, 0.0, 5.0, 6.0, 7.0, 8.0, 0.0, 0.0, 8.0, 0.0,
    ];
    let batch = Tensor::from_vec(x.to_vec(), (2, 2, 2, 2), &CPU).unwrap();
    let channel = |place: usize| place / 4 % 2;
    let expected = |mean: [f64; 2], variance: [f64; 2]| -> Vec<f64> {
        let (weight, bias) = ([2.0, -0.5], [0.25, 1.0]);
        let value = |(place, x): (usize, &f64)| {
            let c = channel(place);
            (x - mean[c]) / (variance[c] + 1e-5).sqrt() * weight[c] + bias[c]
        };
        x.iter().enumerate().map(value).collect()
    };
    let close = |found: &Tensor, expected: &[f64]| {
        for (found, expected) in list(found).iter().zip(expected) {
            assert!((found - expected).abs() < 1e-12, "{found} {expected}");
        }
    };
    // Variances are 42/8 and 56/8.
    let of_batch = expected([4.5, 1.0], [5.25, 7.0]);
    close(&norm.forward(&batch, Pass::Look).unwrap(), &of_batch);
    let running = expected([0.5, -1.0], [4.0, 0.25]);
    close(&norm.forward(&batch, Pass::Evaluate).unwrap(), &running);
    close(&norm.forward(&batch, Pass::Train).unwrap(), &of_batch);
    // A tenth of the batch's, whose variances are 42/7 and 56/7 here.
    close(&norm.running_mean, &[0.45 + 0.45, -0.9 + 0.1]);
    close(&norm.running_variance, &[3.6 + 0.6, 0.225 + 0.8]);
    let moved = expected([0.9, -0.8], [4.2, 1.025]);
    close(&norm.forward(&batch, Pass::Evaluate).unwrap(), &moved);

    let one = Tensor::zeros((1, 2, 1, 1), DType::F64, &CPU).unwrap();
    for pass in [Pass::Train, Pass::Look] {
        let error = norm.forward(&one, pass).unwrap_err().to_string();
        assert!(error.contains("one number a channel"), "{error}");
    }
    assert!(norm.forward(&one, Pass::Evaluate).is_ok());
}

#[test]
fn gradients_of_batch_normalisation() {
    let norm = norm();
    let x = Var::from_tensor(&numbers(&[3, 2, 2, 2], &mut rng(9))).unwrap();
    let by = numbers(&[3, 2, 2, 2], &mut rng(10));
    let mut variables = norm.parameters("norm").to_vec();
    variables.push(("x".to_owned(), x.clone()));
    let scalar = || {
        let y = norm.forward(x.as_tensor(), Pass::Train).unwrap();
        (y * &by).unwrap().sum_all().unwrap()
    };
    check_gradients(&variables, scalar, (1e-5, 1e-8));
}

/// Two channels of 8×8 by way of one pixel of 5 channels, and back.
fn small_plan() -> ConvPlan {
    ConvPlan {
        picture: [2, 8],
        encoder: vec![step(3, 2, 1), step(5, 2, 0)],
        seed: [4, 1],
        generator: vec![step(3, 2, 0), step(2, 2, 1)],
    }
}

const HEADS: [Head; 2] = [Head::Shift, Head::Scale];

#[test]
fn gradients_of_whole_networks() {
    let plan = small_plan();
    let mut encoder = ConvEncoder::init(&plan, 3, &HEADS, &mut rng(11), &CPU).unwrap();
    double_trunk(&mut encoder.trunk);
    for (_, layer) in &mut encoder.heads {
        double(&mut layer.weight);
        double(&mut layer.bias);
    }
    let x = numbers(&[4, plan.input_dim()], &mut rng(12));
    let gradients: Vec<Heads<f64>> = list(&numbers(&[2 * 12], &mut rng(13)))
        .chunks_exact(2)
        .map(|pair| Heads {
            shift: pair[0],
            scale: pair[1],
            ..Heads::default()
        })
        .collect();
    let by = |head: Head| {
        let values: Vec<f64> = gradients.iter().map(|by| head.of(by)).collect();
        Tensor::from_vec(values, (4, 3), &CPU).unwrap()
    };
    // A bias before batch normalisation does nothing: differences and derivatives are both 0.
    let scalar = || {
        let encoded = encoder.forward(&x, Pass::Train).unwrap();
        let weighed = encoded
            .outputs
            .iter()
            .map(|(head, output)| (output * by(*head)).unwrap().sum_all().unwrap());
        weighed.reduce(|a, b| (a + b).unwrap()).unwrap()
    };
    check_gradients(&encoder.parameters(), scalar, (1e-7, 1e-5));
    // What is said on the host is what the tensors hold.
    let encoded = encoder.forward(&x, Pass::Train).unwrap();
    for (head, output) in &encoded.outputs {
        let said: Vec<f64> = encoded.heads.iter().map(|heads| head.of(heads)).collect();
        assert_eq!(said, list(output));
    }

    let mut generator = ConvGenerator::init(&plan, 3, &mut rng(14), &CPU).unwrap();
    double_trunk(&mut generator.trunk);
    double_layer(&mut generator.output);
    double(&mut generator.input.weight);
    double(&mut generator.input.bias);
    let codes = Var::from_tensor(&numbers(&[5, 3], &mut rng(15))).unwrap();
    let target = numbers(&[5, plan.input_dim()], &mut rng(16));
    let mut variables = generator.parameters();
    variables.push(("codes".to_owned(), codes.clone()));
    let scalar = || {
        let made = generator.forward(codes.as_tensor(), Pass::Train).unwrap();
        (made - &target).unwrap().sqr().unwrap().sum_all().unwrap()
    };
    check_gradients(&variables, scalar, (1e-7, 1e-5));
}

/// Passes that only look give the same numbers, keep no graph, and change nothing.
#[test]
fn looking_changes_nothing() {
    let plan = small_plan();
    let encoder = ConvEncoder::init(&plan, 3, &HEADS, &mut rng(17), &CPU).unwrap();
    let generator = ConvGenerator::init(&plan, 3, &mut rng(18), &CPU).unwrap();
    let x = numbers(&[4, plan.input_dim()], &mut rng(19));
    let x = x.to_dtype(DType::F32).unwrap();
    let before = snapshot(&encoder.variables()).unwrap();
    let run = |pass: Pass| {
        let encoded = encoder.forward(&x, pass).unwrap();
        let made = generator.forward(&encoded.outputs[0].1, pass).unwrap();
        let gradients = made.sum_all().unwrap().backward().unwrap();
        let weight = &encoder.trunk[0].0.weight;
        (list(&made), gradients.get(weight).is_some())
    };
    let (looked, has_graph) = run(Pass::Look);
    assert!(!has_graph);
    for (name, tensor) in snapshot(&encoder.variables()).unwrap() {
        assert_eq!(list(&tensor), list(&before[&name]), "{name}");
    }
    assert!(!run(Pass::Evaluate).1);
    let (trained, has_graph) = run(Pass::Train);
    assert!(has_graph);
    for (looked, trained) in looked.iter().zip(&trained) {
        assert!((looked - trained).abs() < 1e-6, "{looked} {trained}");
    }
    let after = snapshot(&encoder.variables()).unwrap();
    let mean = "encoder.norm.0.running_mean";
    assert_ne!(list(&after[mean]), list(&before[mean]));
}

#[test]
fn the_papers_networks() {
    let count = |parameters: Vec<(String, Var)>| -> usize {
        let mut names: Vec<_> = parameters.iter().map(|(name, _)| name.clone()).collect();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), parameters.len());
        parameters
            .iter()
            .map(|(_, variable)| variable.elem_count())
            .sum()
    };
    // Worked out by hand from the paper's table; with codes of 64 and two heads.
    for (channels, side, feature, encoder_count, generator_count) in [
        (1, 28, 128, 477_440, 468_865),
        (3, 64, 256, 1_807_744, 1_053_827),
    ] {
        let plan = ConvPlan::of_paper(channels, side).unwrap();
        assert_eq!(plan.input_dim(), channels * side * side);
        let encoder = ConvEncoder::init(&plan, 64, &HEADS, &mut rng(20), &CPU).unwrap();
        let generator = ConvGenerator::init(&plan, 64, &mut rng(21), &CPU).unwrap();
        assert_eq!(count(encoder.parameters()), encoder_count);
        assert_eq!(count(generator.parameters()), generator_count);
        let x = Tensor::rand(0f32, 1.0, (2, plan.input_dim()), &CPU).unwrap();
        let encoded = encoder.forward(&x, Pass::Evaluate).unwrap();
        assert_eq!(encoded.feature.dims(), [2, feature]);
        assert_eq!(encoded.outputs.len(), 2);
        for (_, output) in &encoded.outputs {
            assert_eq!(output.dims(), [2, 64]);
        }
        let made = generator
            .forward(&encoded.outputs[0].1, Pass::Evaluate)
            .unwrap();
        assert_eq!(made.dims(), [2, plan.input_dim()]);
        assert!(list(&made).iter().all(|pixel| (0.0..=1.0).contains(pixel)));
    }
    let error = ConvPlan::of_paper(1, 32).unwrap_err().to_string();
    assert!(
        error.contains("1×32×32") && error.contains("3×64×64"),
        "{error}"
    );
    let broken = |change: &dyn Fn(&mut ConvPlan)| {
        let mut plan = small_plan();
        change(&mut plan);
        let encoder = ConvEncoder::init(&plan, 3, &HEADS, &mut rng(1), &CPU);
        encoder.unwrap_err().to_string()
    };
    assert!(broken(&|plan| plan.encoder.truncate(1)).contains("leave 4×4"));
    assert!(broken(&|plan| plan.encoder.push(step(1, 1, 0))).contains("does not fit"));
    assert!(broken(&|plan| plan.generator.truncate(1)).contains("give 3×4×4"));
}

/// Numbers fill the interval that PyTorch draws them from.
#[test]
fn weights_begin_as_pytorch_begins() {
    for (is_transposed, bound) in [(false, 1.0 / 48f64.sqrt()), (true, 1.0 / 32f64.sqrt())] {
        let mut weights = Vec::new();
        for seed in 0..40 {
            let geometry = geometry(2, 1, is_transposed);
            let convolution = Convolution::init(geometry, &mut rng(seed), &CPU).unwrap();
            weights.extend(list(&convolution.weight));
            assert!(list(&convolution.bias).iter().all(|b| b.abs() <= bound));
        }
        let largest = weights.iter().fold(0.0f64, |most, w| most.max(w.abs()));
        assert!(
            largest <= bound && largest > 0.99 * bound,
            "{largest} {bound}"
        );
        let square = weights.iter().map(|w| w * w).sum::<f64>() / weights.len() as f64;
        assert!(
            (square / (bound * bound / 3.0) - 1.0).abs() < 0.1,
            "{square}"
        );
    }
}

#[test]
fn adam_is_its_formula() {
    let variable = Var::new(&[0.5f64, -2.0], &CPU).unwrap();
    let parameters = [("w".to_owned(), variable.clone())];
    let mut adam = ConvAdam::default();
    let mut expected = [0.5f64, -2.0];
    let mut moments = [[0.0f64; 2]; 2];
    for t in 1..=3 {
        // The loss is Σ w²·t: its derivative is 2tw.
        let loss = (variable.as_tensor().sqr().unwrap() * f64::from(t)).unwrap();
        let gradients = loss.sum_all().unwrap().backward().unwrap();
        adam.step(&parameters, &gradients, 0.1).unwrap();
        for (w, [m, v]) in expected.iter_mut().zip(&mut moments) {
            let gradient = 2.0 * f64::from(t) * *w + 1e-5 * *w;
            *m = 0.5 * *m + 0.5 * gradient;
            *v = 0.999 * *v + 0.001 * gradient * gradient;
            let (m, v) = (*m / (1.0 - 0.5f64.powi(t)), *v / (1.0 - 0.999f64.powi(t)));
            *w -= 0.1 * m / (v.sqrt() + 1e-8);
        }
        for (found, expected) in list(&variable).iter().zip(expected) {
            assert!((found - expected).abs() < 1e-12, "{t}: {found} {expected}");
        }
    }
}

/// An encoder and a generator that learn to repeat pictures, without noise.
struct Pair {
    encoder: ConvEncoder,
    generator: ConvGenerator,
    adam: ConvAdam,
}

impl Pair {
    fn new(seed: u64) -> Self {
        let (plan, rng) = (small_plan(), &mut rng(seed));
        Self {
            encoder: ConvEncoder::init(&plan, 3, &HEADS, rng, &CPU).unwrap(),
            generator: ConvGenerator::init(&plan, 3, rng, &CPU).unwrap(),
            adam: ConvAdam::default(),
        }
    }

    fn variables(&self) -> Vec<(String, Var)> {
        [self.encoder.variables(), self.generator.variables()].concat()
    }

    fn parameters(&self) -> Vec<(String, Var)> {
        [self.encoder.parameters(), self.generator.parameters()].concat()
    }

    fn error(&self, pictures: &Tensor, pass: Pass) -> Tensor {
        let encoded = self.encoder.forward(pictures, pass).unwrap();
        let made = self.generator.forward(&encoded.outputs[0].1, pass).unwrap();
        (made - pictures)
            .unwrap()
            .sqr()
            .unwrap()
            .mean_all()
            .unwrap()
    }

    /// Steps on pictures of one bright quarter.
    fn learn(&mut self, steps: usize) -> f32 {
        let pictures = pictures();
        let mut last = 0.0;
        for _ in 0..steps {
            let error = self.error(&pictures, Pass::Train);
            last = error.to_scalar().unwrap();
            let gradients = error.backward().unwrap();
            self.adam
                .step(&self.parameters(), &gradients, 0.01)
                .unwrap();
        }
        last
    }
}

fn pictures() -> Tensor {
    let pixel = |n: usize| {
        let (image, y, x) = (n / 128, n / 8 % 8, n % 8);
        f32::from((y / 4 == image / 2) && (x / 4 == image % 2))
    };
    let values: Vec<f32> = (0..4 * 128).map(pixel).collect();
    Tensor::from_vec(values, (4, 128), &CPU).unwrap()
}

/// Learning goes on at the same bits, running statistics included.
#[test]
fn what_is_resumed_ends_where_it_would_have_ended() {
    let mut whole = Pair::new(22);
    let begin = whole.learn(1);
    whole.learn(5);
    let mut state = State {
        tensors: snapshot(&whole.variables()).unwrap(),
        counts: Default::default(),
    };
    whole.adam.save(&mut state);

    let mut resumed = Pair::new(23);
    restore(&resumed.variables(), &state.tensors).unwrap();
    resumed.adam = ConvAdam::restored(&resumed.parameters(), &state).unwrap();
    let ends = (whole.learn(60), resumed.learn(60));
    assert_eq!(ends.0, ends.1);
    let (one, other) = (whole.variables(), resumed.variables());
    for ((name, one), (_, other)) in one.iter().zip(&other) {
        assert_eq!(list(one), list(other), "{name}");
    }
    let evaluated = |pair: &Pair| {
        pair.error(&pictures(), Pass::Evaluate)
            .to_scalar::<f32>()
            .unwrap()
    };
    assert_eq!(evaluated(&whole), evaluated(&resumed));
    assert!(ends.0 < 0.5 * begin, "{begin} {}", ends.0);

    // A snapshot does not follow its variables; a state that lacks something changes nothing.
    let first = "encoder.norm.1.running_variance";
    let mut less = state.clone();
    assert_ne!(
        list(&less.tensors[first]),
        list(&snapshot(&one).unwrap()[first])
    );
    less.tensors.remove(first);
    let error = restore(&other, &less.tensors).unwrap_err();
    assert_eq!(error.name, first);
    for ((name, one), (_, other)) in one.iter().zip(&other) {
        assert_eq!(list(one), list(other), "{name}");
    }
    less.tensors.remove("adam.second.decoder.conv.1.bias");
    let error = ConvAdam::restored(&resumed.parameters(), &less).unwrap_err();
    assert_eq!(error.name, "adam.second.decoder.conv.1.bias");
}
