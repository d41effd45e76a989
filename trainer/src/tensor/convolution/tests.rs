use candle_core::{DType, Device, Var};

use super::*;

fn numbers(shape: &[usize], phase: f64) -> Tensor {
    let count: usize = shape.iter().product();
    let values = (0..count).map(|n| (n as f64 * 0.7 + phase).sin() as f32);
    Tensor::from_vec(values.collect::<Vec<_>>(), shape, &Device::Cpu).unwrap()
}

fn close(found: &Tensor, expected: &Tensor, what: &str) {
    let list = |tensor: &Tensor| -> Vec<f64> {
        let wide = tensor.to_dtype(DType::F64).unwrap();
        wide.flatten_all().unwrap().to_vec1().unwrap()
    };
    assert_eq!(found.dims(), expected.dims(), "{what}");
    for (found, expected) in list(found).iter().zip(list(expected)) {
        let limit = 1e-5 * (10.0 + expected.abs());
        assert!(
            (found - expected).abs() < limit,
            "{what}: {found} {expected}"
        );
    }
}

/// What candle's own convolutions give in 64 bits: values, and gradients of everything.
#[test]
fn convolutions_are_those_of_candle() {
    for (stride, padding, side, batch) in [
        (1, 0, 5, 3),
        (1, 1, 4, 2),
        (2, 0, 6, 40),
        (2, 1, 5, 1),
        (2, 1, 8, 70),
        (2, 0, 5, 2),
    ] {
        for is_transposed in [false, true] {
            let what = format!("{stride} {padding} {side} {batch} {is_transposed}");
            let convolve = Convolve {
                kernel: 4,
                stride,
                padding,
                is_transposed,
            };
            let (inputs, outputs) = (3, 5);
            let shape = if is_transposed {
                [inputs, outputs, 4, 4]
            } else {
                [outputs, inputs, 4, 4]
            };
            let own = [
                numbers(&[batch, inputs, side, side], 0.1),
                numbers(&shape, 0.2),
                numbers(&[outputs], 0.3),
            ];
            let narrow = own
                .each_ref()
                .map(|tensor| Var::from_tensor(tensor).unwrap());
            let wide = own
                .each_ref()
                .map(|tensor| Var::from_tensor(&tensor.to_dtype(DType::F64).unwrap()).unwrap());
            let run = |[x, weight, bias]: &[Var; 3]| {
                let out = convolve.forward(x, weight, bias).unwrap();
                let by = numbers(out.dims(), 0.4).to_dtype(out.dtype()).unwrap();
                let gradients = (&out * by).unwrap().sum_all().unwrap().backward().unwrap();
                let all = [x, weight, bias].map(|var| gradients.get(var).unwrap().clone());
                (out, all)
            };
            let ((found, by_found), (expected, by_expected)) = (run(&narrow), run(&wide));
            close(&found, &expected, &what);
            for (found, expected) in by_found.iter().zip(&by_expected) {
                close(found, expected, &what);
            }
        }
    }
}

/// How long the generator's widest layer takes: `cargo test --release -- --ignored --nocapture
/// compare_convolutions`.
#[test]
#[ignore = "a measurement"]
fn compare_convolutions() {
    for (is_transposed, [inputs, outputs, side, stride, padding, batch]) in [
        (true, [128, 128, 1, 2, 0, 2000]),
        (true, [128, 64, 4, 1, 0, 2000]),
        (true, [64, 64, 7, 2, 1, 2000]),
        (true, [64, 1, 14, 2, 1, 2000]),
        (false, [1, 64, 28, 2, 1, 100]),
        (false, [64, 64, 14, 2, 1, 100]),
    ] {
        let convolve = Convolve {
            kernel: 4,
            stride,
            padding,
            is_transposed,
        };
        let shape = if is_transposed {
            [inputs, outputs, 4, 4]
        } else {
            [outputs, inputs, 4, 4]
        };
        let x = numbers(&[batch, inputs, side, side], 0.1);
        let (weight, bias) = (numbers(&shape, 0.2), numbers(&[outputs], 0.3));
        let time = |work: &dyn Fn() -> Tensor| {
            work();
            let start = std::time::Instant::now();
            work();
            start.elapsed().as_secs_f64() * 1e3
        };
        let own = time(&|| convolve.forward(&x, &weight, &bias).unwrap());
        let candle = time(&|| match is_transposed {
            true => x.conv_transpose2d(&weight, padding, 0, stride, 1).unwrap(),
            false => x.conv2d(&weight, padding, stride, 1, 1).unwrap(),
        });
        println!("{inputs} → {outputs}, side {side}, {batch}: {own:.1} ms, candle {candle:.1} ms");
    }
}
