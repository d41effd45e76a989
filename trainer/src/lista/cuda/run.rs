//! What a kernel is told: `trainer/kernels/run.h`, field by field.

/// A place in the arena, in floats from its start.
pub(crate) type Place = u64;

/// What a launch does with batches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Train = 0,
    Evaluate = 1,
    Infer = 2,
}

/// Where the loop's state and the Gram matrix are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Storage {
    BothShared = 0,
    StateShared = 1,
    BothGlobal = 2,
}

/// A parameter's place among the parameters.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Parameter {
    pub(crate) offset: u64,
    pub(crate) count: u64,
    pub(crate) decay: f32,
    pub(crate) is_encoder: bool,
}

/// Parameters that there may be: U, b, S, then W, or W1, b1, W2.
pub(crate) const PARAMETERS: [&str; 7] = [
    "encoder.input",
    "encoder.bias",
    "encoder.recurrent",
    "decoder.dictionary",
    "decoder.hidden",
    "decoder.hidden_bias",
    "decoder.output",
];

/// Where a parameter is in [`Run::parameter`].
pub(crate) fn index_of(name: &str) -> usize {
    let place = PARAMETERS.iter().position(|other| *other == name);
    match place.expect("a parameter of the model") {
        // W and W1 share a place.
        place @ 0..=3 => place,
        place => place - 1,
    }
}

/// A number as a kernel reads it.
trait Put {
    fn put(&self, out: &mut Vec<u8>);
}

macro_rules! put {
    ($($number:ty),*) => {$(
        impl Put for $number {
            fn put(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(&self.to_le_bytes());
            }
        }
    )*};
}
put!(u64, i32, f32, f64);

impl Put for [Parameter; 6] {
    fn put(&self, out: &mut Vec<u8>) {
        for parameter in self {
            parameter.offset.put(out);
            parameter.count.put(out);
            parameter.decay.put(out);
            i32::from(parameter.is_encoder).put(out);
        }
    }
}

macro_rules! run {
    ($($field:ident: $kind:ty,)*) => {
        /// See `run.h`. Eight bytes wide fields come first, so that nothing lies between fields.
        #[derive(Clone, Debug, Default, PartialEq)]
        pub(crate) struct Run {
            $(pub(crate) $field: $kind,)*
        }

        impl Run {
            /// The structure as it lies in memory.
            pub(crate) fn to_bytes(&self) -> Vec<u8> {
                let mut out = Vec::new();
                $(self.$field.put(&mut out);)*
                out.resize(out.len().next_multiple_of(8), 0);
                out
            }
        }
    };
}

run! {
    inputs: Place,
    order: Place,
    scales: Place,
    momentum: Place,
    updates: Place,
    records: Place,
    used: Place,
    status: Place,
    parameters: Place,
    first_moment: Place,
    second_moment: Place,
    gradient: Place,
    batch: Place,
    drive: Place,
    drive_gradient: Place,
    start: Place,
    encoder_codes: Place,
    codes: Place,
    correlation: Place,
    trace: Place,
    deltas: Place,
    gram: Place,
    error: Place,
    hidden: Place,
    hidden_delta: Place,
    rows: Place,
    columns: Place,
    parts: Place,
    points: Place,
    moving: Place,
    steps: Place,
    state: Place,
    boxes: Place,
    barrier: Place,
    part_floats: u64,
    parameter: [Parameter; 6],
    tolerance_squared: f64,
    lambda: f64,
    variance_weight: f64,
    encoder_weight: f64,
    hinge_weight: f64,
    peak_squared: f64,
    step_size: f32,
    threshold: f32,
    pull: f32,
    variance_threshold: f32,
    initial_code: f32,
    mode: i32,
    storage: i32,
    input_dim: i32,
    code_dim: i32,
    hidden_dim: i32,
    batch_size: i32,
    lista_iterations: i32,
    max_iterations: i32,
    padded: i32,
    samples: i32,
    scale_kind: i32,
    has_encoder: i32,
    normalizes_columns: i32,
    freeze: i32,
    wanted_jobs: i32,
    block_tiles: i32,
}

/// Doubles in the record of a batch.
pub(crate) const RECORD: usize = 10;

/// What is known of a batch when it is done.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Record {
    pub(crate) psnr: f64,
    pub(crate) zeros: f64,
    pub(crate) l1: f64,
    pub(crate) reconstruction: f64,
    pub(crate) variance: f64,
    pub(crate) encoder: f64,
    pub(crate) encoder_loss: f64,
    pub(crate) steps: f64,
    pub(crate) iterations: f64,
    pub(crate) failure: i32,
}

impl Record {
    /// In the order of `run.h`.
    pub(crate) fn of(numbers: &[f64]) -> Self {
        Self {
            psnr: numbers[0],
            zeros: numbers[1],
            l1: numbers[2],
            reconstruction: numbers[3],
            variance: numbers[4],
            encoder: numbers[5],
            encoder_loss: numbers[6],
            steps: numbers[7],
            iterations: numbers[8],
            failure: numbers[9] as i32,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `run.h` asserts of its own structure.
    #[test]
    fn has_the_size_that_kernels_expect() {
        assert_eq!(Run::default().to_bytes().len(), 560);
    }

    #[test]
    fn parameters_have_their_places() {
        let places = PARAMETERS.map(index_of);
        assert_eq!(places, [0, 1, 2, 3, 3, 4, 5]);
    }
}
