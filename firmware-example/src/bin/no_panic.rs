//! Links only if neither loading a model, whatever the bytes, nor anything that inference calls can
//! panic.
//!
//! The panic handler calls a function that does not exist. It is dropped if the optimised program
//! has no path to it; otherwise the linker reports `a_panic_is_reachable` as undefined. There is no
//! allocator either, so an allocation would not link. `cargo xtask no-panic` builds this for every
//! kind of core, in every way to build that is here, in release.
#![no_std]
#![no_main]
#![allow(unsafe_code)]

#[cfg(target_arch = "arm")]
use cortex_m_rt::entry;
#[cfg(target_arch = "riscv32")]
use riscv_rt::entry;

use core::hint::black_box;

use sparsecode_runtime::stream::{
    ContrastCursor, ContrastFrameStream, ContrastView, Cursor, DenoiseScratch, DenoiseStream,
    Denoising, DriftCursor, DriftStream, DriftView, FrameScratch, FrameStream, FrameView, Hann,
    LocalContrast, LocalContrastView, NoiseLevel, Sample, SignalStream, SignalView, Uniform,
    Weighting, Windows, residual_guard, residual_guard_i16,
};
use sparsecode_runtime::{
    CodeBuffer as _, GramBuffer, GramWorkspace, IntegerCode, IntegerCodeBuffer as _, IntegerModel,
    IntegerRefine, IntegerWorkspace, Model, ModelFile, ModelView, Refine, Samples, SparseCode,
    Workspace,
};

#[cfg(target_arch = "arm")]
use cortex_m as _;

/// Stands for a flash slot: bytes of which the compiler knows nothing, so that nothing about them
/// is taken for granted.
static mut SLOT: [u8; 64] = [0; 64];

#[inline(never)]
fn slot() -> &'static [u8] {
    // SAFETY: never executed: this program is linked and not run.
    unsafe { core::slice::from_raw_parts(black_box((&raw const SLOT).cast()), black_box(64)) }
}

#[entry]
fn main() -> ! {
    black_box(linear());
    black_box(one_hidden());
    black_box(gram());
    black_box(samples());
    black_box(any_size());
    black_box(integers());
    black_box(signal::<Uniform>());
    black_box(signal::<Hann>());
    black_box(frame::<Uniform>());
    black_box(frame::<Hann>());
    black_box(contrast_frame());
    black_box(signal_view::<f32>(&[1.0; 16], [0.5; 16], [0.0; 16]));
    black_box(signal_view::<i16>(&[1; 16], [5; 16], [0; 16]));
    black_box(frame_view::<f32>(&[1.0; 16], [0.5; 64], [0.0; 64]));
    black_box(frame_view::<i16>(&[1; 16], [5; 64], [0; 64]));
    black_box(contrast_view());
    black_box(drift::<f32>(0.5, [0.0; 16]));
    black_box(drift::<i16>(5, [0; 16]));
    black_box(noise_level::<f32>(0.5));
    black_box(noise_level::<i16>(5));
    black_box(guard());
    black_box(denoised());
    black_box(denoised_in_integers());
    loop {}
}

/// Everything that `Model` offers, for a linear decoder.
#[inline(never)]
fn linear() -> Option<f32> {
    exercise::<64, 128, 0>(&Model::load(slot()).ok()?)
}

/// Refinement by means of the Gram matrix.
#[inline(never)]
fn gram() -> Option<f32> {
    let model = Model::<16, 24>::load(slot()).ok()?;
    let (mut buffer, mut scratch) = (GramBuffer::new(), GramWorkspace::new());
    let (mut code, mut workspace) = (SparseCode::new(), Workspace::new());
    let settings = black_box(Refine::for_model(model.spec()));
    let patch = black_box([0.5; 16]);
    let gram = model.gram(&mut buffer, &mut workspace);
    let (workspace, scratch) = (&mut workspace, &mut scratch);
    let deadline = || black_box(false);
    let refined = gram.refine(&patch, &mut code, &settings, workspace, scratch, deadline);
    let descended = gram.descend(&patch, &mut code, &settings, workspace, scratch, deadline);
    Some(refined.energy + descended.energy + code.l1_norm())
}

/// The best of some samples, by the type and by the view.
#[inline(never)]
fn samples() -> Option<f32> {
    let model = Model::<16, 24>::load(slot()).ok()?;
    let (mut code, mut workspace) = (SparseCode::new(), Workspace::new());
    let samples = black_box(Samples::new(7, 20));
    let patch = black_box([0.5; 16]);
    let typed = model.encode_best_of(&patch, &mut code, &samples, &mut workspace);
    let view = ModelView::load(slot()).ok()?;
    let viewed = view.encode_best_of(&patch, &mut code, &samples, &mut workspace);
    Some(typed.ok()?.error + viewed.ok()?.error + code.l1_norm())
}

/// The same for a decoder with a hidden layer.
#[inline(never)]
fn one_hidden() -> Option<f32> {
    exercise::<64, 128, 160>(&Model::load(slot()).ok()?)
}

fn exercise<const INPUT: usize, const CODE: usize, const HIDDEN: usize>(
    model: &Model<'_, INPUT, CODE, HIDDEN>,
) -> Option<f32> {
    model.file().verify_checksum().ok()?;
    let mut patch = black_box([0.5; INPUT]);
    let mut code = SparseCode::new();
    let mut workspace = Workspace::new();
    let settings = black_box(Refine::for_model(model.spec()));
    let normalisation = model.preprocess(&mut patch);
    model.encode(&patch, &mut code, &mut workspace);
    let refinement = model.refine(&patch, &mut code, &settings, &mut workspace, || {
        black_box(false)
    });
    model.decode(&code, &mut patch, &mut workspace);
    model.restore(&mut patch, normalisation);
    model.denoise(
        &mut patch,
        Some(&settings),
        &mut code,
        &mut workspace,
        || black_box(false),
    );
    code.to_dense(&mut patch);
    code.from_dense(&patch);
    Some(refinement.energy + patch.iter().sum::<f32>() + code.l1_norm())
}

/// The same through `ModelView`, where lengths are checked at every call.
#[inline(never)]
fn any_size() -> Option<f32> {
    let view = ModelView::from(ModelFile::read_slot(slot()).ok()?);
    let mut patch = black_box([0.5; 64]);
    let mut code = SparseCode::<128>::new();
    let mut workspace = Workspace::<64, 128, 160>::new();
    let settings = black_box(Refine::for_noise(view.spec(), 0.1));
    let normalisation = view.preprocess(&mut patch).ok()?;
    view.encode(&patch, &mut code, &mut workspace).ok()?;
    view.refine(&patch, &mut code, &settings, &mut workspace, || {
        black_box(false)
    })
    .ok()?;
    view.decode(&code, &mut patch, &mut workspace).ok()?;
    view.restore(&mut patch, normalisation).ok()?;
    view.denoise(&mut patch, None, &mut code, &mut workspace, || false)
        .ok()?;
    Some(sparsecode_runtime::mean_squared_error(
        &patch,
        code.values(),
    ))
}

/// Signals of both number types, in windows that the hop divides and does not divide.
#[inline(never)]
fn signal<K: Weighting>() -> Option<f32> {
    let mut floats = black_box(SignalStream::<f32, 64, 16, K>::new());
    let mut integers = black_box(SignalStream::<i16, 7, 3, K>::new());
    let (mut float_window, mut integer_window) = ([0.0; 64], [0; 7]);
    let mut block = black_box([0.5; 9]);
    let mut last = None;
    while black_box(true) {
        last = floats.push(black_box(0.5), &mut float_window, |window| {
            black_box(window);
        });
        integers.push(black_box(5), &mut integer_window, |window| {
            black_box(window);
        });
        black_box(floats.push_block(&mut block, &mut float_window, |_| ()));
        if black_box(false) {
            black_box(floats.finish(&mut float_window, |_| ()));
            black_box(integers.finish(&mut integer_window, |_| ()));
            floats.reset();
        }
    }
    last
}

/// Frames of both number types.
#[inline(never)]
fn frame<K: Weighting>() -> bool {
    let mut floats = black_box(FrameStream::<f32, 21, 5, 6, 30, 4, K>::new());
    let mut integers = black_box(FrameStream::<i16, 16, 8, 8, 64, 4, K>::new());
    let (mut float_line, mut float_patch) = (black_box([0.5; 21]), [0.0; 30]);
    let (mut integer_line, mut integer_patch) = (black_box([5; 16]), [0; 64]);
    let mut done = false;
    while black_box(true) {
        done ^= floats.push(&mut float_line, &mut float_patch, |patch| {
            black_box(patch);
        });
        done ^= integers.push(&mut integer_line, &mut integer_patch, |patch| {
            black_box(patch);
        });
        if black_box(false) {
            floats.finish(
                &mut float_line,
                &mut float_patch,
                |_| (),
                |line| {
                    black_box(line);
                },
            );
            integers.finish(
                &mut integer_line,
                &mut integer_patch,
                |_| (),
                |line| {
                    black_box(line);
                },
            );
        }
    }
    done
}

/// Frames through local contrast normalisation and a model.
#[inline(never)]
fn contrast_frame() -> Option<bool> {
    let model = Model::<16, 24>::load(slot()).ok()?;
    let contrast = LocalContrast::new(&model.spec().preprocessing).ok()?;
    let mut stream = black_box(ContrastFrameStream::<20, 4, 4, 16, 3, 5>::new());
    let (mut line, mut scratch) = (black_box([0.5; 20]), FrameScratch::new());
    let (mut code, mut workspace) = (SparseCode::new(), Workspace::new());
    let mut denoise = |patch: &mut [f32; 16]| {
        model.denoise(patch, None, &mut code, &mut workspace, || false);
    };
    let mut done = false;
    while black_box(true) {
        done ^= stream.push(&contrast, &mut line, &mut scratch, &mut denoise);
        if black_box(false) {
            stream.finish(&contrast, &mut line, &mut scratch, &mut denoise, |line| {
                black_box(line);
            });
        }
    }
    Some(done)
}

/// A length of which the compiler knows nothing.
fn some() -> usize {
    black_box(7)
}

/// The front of a buffer, as long as it may be.
fn cut<E>(buffer: &mut [E]) -> &mut [E] {
    let length = some().min(buffer.len());
    buffer.get_mut(..length).unwrap_or_default()
}

/// A signal in windows of any size.
#[inline(never)]
fn signal_view<T: Sample>(
    weights: &[T::Sum; 16],
    mut samples: [T; 16],
    mut sums: [T::Sum; 16],
) -> Option<bool> {
    let (mut window, mut block) = (samples, samples);
    let mut cursor = black_box(Cursor::new());
    let windows = Windows::new(weights.get(..some())?, some()).ok()?;
    let (samples, sums) = (cut(&mut samples), cut(&mut sums));
    let mut stream = SignalView::new(windows, samples, sums, &mut cursor).ok()?;
    let (window, block) = (cut(&mut window), cut(&mut block));
    let mut done = false;
    while black_box(true) {
        let sample = *block.first()?;
        let clean = stream.push(sample, window, |window| {
            black_box(window);
        });
        done ^= clean.ok()?.is_some();
        let given = stream.push_block(block, window, |_| ()).ok()?;
        done ^= given.is_empty();
        if black_box(false) {
            let rest = stream.finish(window, |_| ()).ok()?;
            done ^= rest.is_empty();
            stream.reset();
        }
    }
    Some(done)
}

/// A frame of any width in patches of any size.
#[inline(never)]
fn frame_view<T: Sample>(
    weights: &[T::Sum; 16],
    mut lines: [T; 64],
    mut sums: [T::Sum; 64],
) -> Option<bool> {
    let (mut line, mut patch) = (lines, lines);
    let mut cursor = black_box(Cursor::new());
    let down = Windows::new(weights.get(..some())?, some()).ok()?;
    let across = Windows::new(weights.get(..some())?, some()).ok()?;
    let (lines, sums) = (cut(&mut lines), cut(&mut sums));
    let mut stream = FrameView::new(some(), down, across, lines, sums, &mut cursor).ok()?;
    let (line, patch) = (cut(&mut line), cut(&mut patch));
    let mut done = false;
    while black_box(true) {
        let clean = stream.push(line, patch, |patch| {
            black_box(patch);
        });
        done ^= clean.ok()?;
        if black_box(false) {
            let finished = stream.finish(
                line,
                patch,
                |_| (),
                |line| {
                    black_box(line);
                },
            );
            finished.ok()?;
            stream.reset();
        }
    }
    Some(done)
}

/// Local contrast normalisation with a window of any size, of frames of any width.
#[inline(never)]
fn contrast_view() -> Option<bool> {
    let model = Model::<16, 24>::load(slot()).ok()?;
    let (mut taps, mut samples, mut centred) = ([0.0; 16], [0.0; 64], [0.0; 64]);
    let (mut line, mut mean, mut deviation) = ([0.5; 16], [0.0; 16], [0.0; 16]);
    let mut cursor = black_box(ContrastCursor::new());
    let contrast = LocalContrastView::new(&model.spec().preprocessing, cut(&mut taps)).ok()?;
    let (samples, centred) = (cut(&mut samples), cut(&mut centred));
    let mut stream = ContrastView::new(contrast, some(), samples, centred, &mut cursor).ok()?;
    let (line, mean, deviation) = (cut(&mut line), cut(&mut mean), cut(&mut deviation));
    let mut done = false;
    while black_box(true) {
        contrast.scale(line);
        done ^= stream.push(line, mean, deviation).ok()?;
        contrast.restore(line, mean, deviation);
        if black_box(false) {
            let finished = stream.finish(line, mean, deviation, |line, _, _| {
                black_box(line);
            });
            finished.ok()?;
            stream.reset();
        }
    }
    Some(done)
}

/// Drift, by the type and by the view.
#[inline(never)]
fn drift<T: Sample>(sample: T, mut means: [T::Sum; 16]) -> Option<T> {
    let mut filter = black_box(DriftStream::<T, 9>::new());
    let (mut samples, mut block) = ([sample; 16], black_box([sample; 16]));
    let mut cursor = black_box(DriftCursor::new());
    let mut view = DriftView::new(cut(&mut samples), cut(&mut means), &mut cursor).ok()?;
    let mut last = None;
    while black_box(true) {
        last = filter.push(*black_box(&block).first()?);
        last = view.push(*black_box(&block).first()?).or(last);
        black_box(filter.push_block(cut(&mut block)));
        black_box(view.push_block(cut(&mut block)));
        if black_box(false) {
            last = filter.finish().last().or(view.finish().last());
            filter.filter(cut(&mut block));
            view.filter(cut(&mut block));
            filter.reset();
            view.reset();
        }
    }
    last
}

/// The level of the noise.
#[inline(never)]
fn noise_level<T: Sample>(sample: T) -> Option<T::Sigma> {
    let mut noise = black_box(NoiseLevel::<T>::new());
    let mut long = black_box(NoiseLevel::<T, 256>::new());
    let mut last = None;
    while black_box(true) {
        noise.push(black_box(sample));
        long.push_block(cut(&mut black_box([sample; 16])));
        last = noise.sigma().or(long.sigma());
        if black_box(false) {
            noise.reset();
        }
    }
    last
}

/// The residual guard in both arithmetics.
#[inline(never)]
fn guard() -> (f32, u16) {
    let (mut floats, mut integers) = (black_box([0.5; 16]), black_box([5; 16]));
    let noisy = black_box([0.7; 16]);
    let float = residual_guard(&noisy, cut(&mut floats), black_box(0.1), black_box(1.3));
    let noisy = black_box([7; 16]);
    let sigma = black_box(16);
    let integer = residual_guard_i16(&noisy, cut(&mut integers), sigma, black_box(333));
    black_box((floats, integers));
    (float, integer)
}

/// A signal through a model that denoises.
#[inline(never)]
fn denoised() -> Option<bool> {
    let model = Model::<16, 24>::load(slot()).ok()?;
    let mut totals = [0.0; 16];
    let by = Denoising::<f32, _, _>::of(model.file(), cut(&mut totals)).ok()?;
    let (mut code, mut workspace) = (SparseCode::new(), Workspace::new());
    Some(denoise_stream(by, 0.5, 0.1, |window, sigma| {
        let model = model.at_noise_level(sigma);
        model.denoise(window, None, &mut code, &mut workspace, || false);
    }))
}

/// The same in integers, with a Gram matrix that is built.
#[inline(never)]
fn denoised_in_integers() -> Option<bool> {
    let mut memory = [0; 24 * 24];
    let model = IntegerModel::<16, 24>::load_into(slot(), cut(&mut memory)).ok()?;
    let mut totals = [0; 16];
    let by = Denoising::<i16, _, _>::of(model.file(), cut(&mut totals)).ok()?;
    let (mut code, mut workspace) = (IntegerCode::new(), IntegerWorkspace::new());
    Some(denoise_stream(by, 5, 16, |window, sigma| {
        let model = model.at_noise_level(sigma);
        model.denoise(window, None, &mut code, &mut workspace, || false);
    }))
}

/// Everything that `DenoiseStream` offers.
fn denoise_stream<T: Sample>(
    mut by: Denoising<'_, T, 16, 9>,
    sample: T,
    sigma: T::Sigma,
    mut clean: impl FnMut(&mut [T; 16], T::Sigma),
) -> bool {
    if black_box(false) {
        by = by.with_noise(black_box(sigma));
    }
    let mut stream = black_box(DenoiseStream::new());
    let (mut scratch, mut done) = (DenoiseScratch::new(), false);
    while black_box(true) {
        let given = stream.push(black_box(sample), &by, &mut scratch, &mut clean);
        done ^= given.is_some();
        done ^= stream.sigma().is_some();
        if black_box(false) {
            stream.finish(&by, &mut scratch, &mut clean, |sample| {
                black_box(sample);
            });
            stream.reset();
        }
    }
    done
}

/// Everything that `IntegerModel` offers.
#[inline(never)]
fn integers() -> Option<i16> {
    let model = IntegerModel::<64, 128>::load(slot()).ok()?;
    model.file().verify_checksum().ok()?;
    let (mut code, mut workspace) = (IntegerCode::new(), IntegerWorkspace::new());
    let settings = black_box(IntegerRefine::for_model(model.file()));
    let mut patch = black_box([50; 64]);
    let normalisation = model.preprocess(&mut patch);
    model.encode(&patch, &mut code, &mut workspace);
    code.push(black_box(127), black_box(3)).ok()?;
    let deadline = || black_box(false);
    black_box(model.refine(&patch, &mut code, &settings, &mut workspace, deadline));
    model.decode(&code, &mut patch, &mut workspace);
    model.restore(&mut patch, normalisation);
    black_box(model.denoise(
        &mut patch,
        Some(&settings),
        &mut code,
        &mut workspace,
        deadline,
    ));
    code.to_dense(&mut patch);
    code.iter().map(|(_, level)| level).max()
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    unsafe extern "C" {
        fn a_panic_is_reachable() -> !;
    }
    // SAFETY: never executed: the function does not exist, and a program that keeps this call does
    // not link.
    unsafe { a_panic_is_reachable() }
}
