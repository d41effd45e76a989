//! Signals without end through models that denoise, in memory of the program in C.

#![allow(
    unsafe_code,
    reason = "functions that C calls, with C's pointers; the module says what is checked"
)]
#![allow(
    clippy::too_many_arguments,
    reason = "C has no slices: a length beside each pointer"
)]

use core::ffi::c_void;
use core::slice;

use super::code::Buffer;
use super::integer::sparsecode_integer_model;
use super::memory::{self, Handle, Loaded, Parts, Region, loaded};
use super::model::{self, sparsecode_model};
use super::status::{attempt, sparsecode_status};
use crate::integer::code::List;
use crate::stream::{
    Arithmetic, Banded, DenoiseCursor, DenoiseView, DenoiseWindows, Sample, StreamError,
};

use sparsecode_status as Status;

/// How a model that denoises takes a signal, and what memory that needs.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct sparsecode_stream_info {
    /// Samples of a window.
    pub window: u32,
    /// Samples from the start of one window to the start of the next.
    pub hop: u32,
    /// Samples of the moving means that are taken off first; 0 for none.
    pub drift: u32,
    /// Samples that go in before the first one comes out.
    pub latency: u32,
    /// Bytes of a channel, whose start is a multiple of 4: `SPARSECODE_STREAM_BYTES` or
    /// `SPARSECODE_INTEGER_STREAM_BYTES`.
    pub channel_bytes: usize,
    /// Bytes of workspace that the calls need, whose start is a multiple of 4:
    /// `SPARSECODE_STREAM_WORKSPACE_BYTES` or `SPARSECODE_INTEGER_STREAM_WORKSPACE_BYTES`. One
    /// workspace serves all channels.
    pub workspace_bytes: usize,
}

/// What lies at the start of a channel.
#[repr(C)]
struct Start<T: Sample> {
    mark: u32,
    /// Of the model that the channel was started for.
    checksum: u32,
    cursor: DenoiseCursor<T>,
}

/// Marks a channel that was started.
const MARK: u32 = 0x5bc0_def3;

/// Models of either arithmetic, as they clean windows.
trait Denoiser: Handle {
    type Sample: Sample;

    fn windows(model: &Self::Model) -> Result<DenoiseWindows<'static, Self::Sample>, StreamError>;

    fn checksum(model: &Self::Model) -> u32;

    /// The noise that a call says, if it says any.
    fn known(
        sigma: <Self::Sample as Banded>::Sigma,
    ) -> Result<Option<<Self::Sample as Banded>::Sigma>, Status>;

    /// Bytes of a code and of what makes one.
    fn code_bytes(loaded: &Loaded<Self>) -> usize;

    /// Cleans a window.
    ///
    /// # Safety
    ///
    /// `memory` has `code_bytes`, is aligned to 4, and nothing else refers to it until the call
    /// returns.
    unsafe fn clean(
        loaded: &Loaded<Self>,
        window: &mut [Self::Sample],
        sigma: <Self::Sample as Banded>::Sigma,
        memory: *mut c_void,
    );
}

type Sigma<H> = <<H as Denoiser>::Sample as Banded>::Sigma;

impl Denoiser for sparsecode_model {
    type Sample = f32;

    fn windows(model: &Self::Model) -> Result<DenoiseWindows<'static, f32>, StreamError> {
        DenoiseWindows::<f32>::of(model.file())
    }

    fn checksum(model: &Self::Model) -> u32 {
        model.file().checksum()
    }

    fn known(sigma: f32) -> Result<Option<f32>, Status> {
        match sigma {
            0.0 => Ok(None),
            sigma if sigma > 0.0 && sigma.is_finite() => Ok(Some(sigma)),
            _ => Err(Status::InvalidSetting),
        }
    }

    fn code_bytes(loaded: &Loaded<Self>) -> usize {
        // A value and an index each, and a multiple of 4.
        let code_dim = loaded.model.spec().code_dim();
        let code = code_dim.saturating_mul(6).next_multiple_of(4);
        loaded.workspace_bytes().saturating_add(code)
    }

    unsafe fn clean(loaded: &Loaded<Self>, window: &mut [f32], sigma: f32, memory: *mut c_void) {
        let code_dim = loaded.model.spec().code_dim();
        let mut parts = Parts::new(memory);
        // SAFETY: together `code_bytes`; what needs the larger alignment comes first.
        let (mut scratch, mut code) = unsafe {
            let scratch = model::scratch_from(&mut parts, loaded);
            let values = parts.take(code_dim);
            (scratch, Buffer::of(parts.take(code_dim), values))
        };
        let model = loaded.model.at_noise_level(sigma);
        // Lengths are the model's.
        let _ = model.denoise(window, None, &mut code, &mut scratch, || false);
    }
}

impl Denoiser for sparsecode_integer_model {
    type Sample = i16;

    fn windows(model: &Self::Model) -> Result<DenoiseWindows<'static, i16>, StreamError> {
        DenoiseWindows::<i16>::of(model.file())
    }

    fn checksum(model: &Self::Model) -> u32 {
        model.file().checksum()
    }

    fn known(sigma: u16) -> Result<Option<u16>, Status> {
        Ok((sigma > 0).then_some(sigma))
    }

    fn code_bytes(loaded: &Loaded<Self>) -> usize {
        let code = loaded.model.spec().code_dim().saturating_mul(4);
        loaded.workspace_bytes().saturating_add(code)
    }

    unsafe fn clean(loaded: &Loaded<Self>, window: &mut [i16], sigma: u16, memory: *mut c_void) {
        let code_dim = loaded.model.spec().code_dim();
        let mut parts = Parts::new(memory);
        // SAFETY: together `code_bytes`; what needs the larger alignment comes first.
        let (entries, mut scratch) =
            unsafe { (parts.take(code_dim), loaded.scratch_from(&mut parts)) };
        let mut active = 0;
        let mut list = List {
            entries,
            active: &mut active,
        };
        let model = loaded.model.at_noise_level(sigma);
        // Lengths are the model's.
        let _ = model.denoise(window, None, &mut list, &mut scratch, || false);
    }
}

/// What a model says of its channels, in bytes and samples.
struct Plan<'m, H: Denoiser> {
    model: &'m Loaded<H>,
    windows: DenoiseWindows<'static, H::Sample>,
}

impl<'m, H: Denoiser> Plan<'m, H> {
    /// # Safety
    ///
    /// `model` is a handle, as the module's safety section demands.
    unsafe fn of(model: *const H) -> Result<Self, Status> {
        // SAFETY: the caller's promise.
        let model = unsafe { loaded(model) }?;
        let windows = H::windows(&model.model).map_err(|_| Status::NotADenoiser)?;
        Ok(Self { model, windows })
    }

    /// Elements of both rings.
    fn length(&self) -> usize {
        self.windows.side().saturating_add(self.windows.drift())
    }

    fn channel_bytes(&self) -> usize {
        let element =
            size_of::<H::Sample>().saturating_add(size_of::<<H::Sample as Arithmetic>::Sum>());
        let rings = self.length().saturating_mul(element);
        rings
            .saturating_add(size_of::<Start<H::Sample>>())
            .next_multiple_of(4)
    }

    fn workspace_bytes(&self) -> usize {
        let windows = self.windows.side().saturating_mul(2);
        windows
            .saturating_mul(size_of::<H::Sample>())
            .saturating_add(H::code_bytes(self.model))
    }

    /// The channel's memory, if there is enough.
    fn channel(&self, channel: *mut c_void, bytes: usize) -> Result<Region, Status> {
        memory::workspace(channel, bytes, self.channel_bytes())
    }

    /// Calls `body` with the channel and the two windows that it is lent.
    ///
    /// # Safety
    ///
    /// `channel` and `workspace` were checked, are apart from everything else in use, and were
    /// started for this arithmetic or never.
    unsafe fn with<R>(
        &self,
        channel: *mut c_void,
        sigma: Option<Sigma<H>>,
        workspace: *mut c_void,
        body: impl FnOnce(
            &mut DenoiseView<'_, H::Sample>,
            &mut [H::Sample],
            &mut dyn FnMut(&mut [H::Sample], Sigma<H>),
        ) -> R,
    ) -> Result<R, Status> {
        const { assert!(align_of::<Start<H::Sample>>() <= 4) };
        // SAFETY: any bits are a start: it holds numbers alone.
        let start = unsafe { &mut *channel.cast::<Start<H::Sample>>() };
        if start.mark != MARK || start.checksum != H::checksum(&self.model.model) {
            return Err(Status::NotStarted);
        }
        let length = self.length();
        let mut parts = Parts::new(channel);
        // SAFETY: behind the start lie as many bytes as `channel_bytes` counts.
        let (sums, samples) = unsafe {
            let _ = parts.take::<Start<H::Sample>>(1);
            (parts.take(length), parts.take(length))
        };
        let windows = match sigma {
            Some(sigma) => self.windows.with_noise(sigma),
            None => self.windows,
        };
        let mut view = DenoiseView::new(windows, samples, sums, &mut start.cursor)
            .map_err(|_| Status::NotStarted)?;
        let side = self.windows.side();
        let mut parts = Parts::new(workspace);
        // SAFETY: `workspace_bytes` counts the two windows, a multiple of 4 bytes, and the rest.
        let scratch = unsafe { parts.take::<H::Sample>(side.saturating_mul(2)) };
        let memory = parts.rest();
        let mut clean = |window: &mut [H::Sample], sigma| {
            // SAFETY: as above, and no window is cleaned during another.
            unsafe { H::clean(self.model, window, sigma, memory) };
        };
        Ok(body(&mut view, scratch, &mut clean))
    }
}

/// # Safety
///
/// As the module's safety section demands.
unsafe fn get_info<H: Denoiser>(
    model: *const H,
    info: *mut sparsecode_stream_info,
) -> Result<(), Status> {
    // SAFETY: the caller's promise.
    let plan = unsafe { Plan::of(model) }?;
    plan.model.distinct(&[Region::new(info, 1)?], &[])?;
    let value = sparsecode_stream_info {
        window: plan.windows.side() as u32,
        hop: plan.windows.hop() as u32,
        drift: plan.windows.drift() as u32,
        latency: plan.windows.latency() as u32,
        channel_bytes: plan.channel_bytes(),
        workspace_bytes: plan.workspace_bytes(),
    };
    // SAFETY: not null, aligned, and the caller's to write.
    unsafe { info.write(value) };
    Ok(())
}

/// # Safety
///
/// As the module's safety section demands.
unsafe fn start<H: Denoiser>(
    model: *const H,
    channel: *mut c_void,
    channel_bytes: usize,
) -> Result<(), Status> {
    // SAFETY: the caller's promise.
    let plan = unsafe { Plan::of(model) }?;
    let region = plan.channel(channel, channel_bytes)?;
    plan.model.distinct(&[region], &[])?;
    let value = Start {
        mark: MARK,
        checksum: H::checksum(&plan.model.model),
        cursor: DenoiseCursor::<H::Sample>::new(),
    };
    // SAFETY: not null, aligned, large enough, and the caller's to write. The rings are zeroed, so
    // that no number is read that was never written.
    unsafe {
        channel.cast::<u8>().write_bytes(0, plan.channel_bytes());
        channel.cast::<Start<H::Sample>>().write(value);
    }
    Ok(())
}

/// # Safety
///
/// As the module's safety section demands.
unsafe fn push<H: Denoiser>(
    model: *const H,
    channel: *mut c_void,
    channel_bytes: usize,
    sigma: Sigma<H>,
    block: *mut H::Sample,
    length: usize,
    given: *mut usize,
    workspace: *mut c_void,
    workspace_bytes: usize,
) -> Result<(), Status> {
    // SAFETY: the caller's promise.
    let plan = unsafe { Plan::of(model) }?;
    let sigma = H::known(sigma)?;
    let written = [
        plan.channel(channel, channel_bytes)?,
        Region::new(block, length)?,
        Region::new(given, 1)?,
        memory::workspace(workspace, workspace_bytes, plan.workspace_bytes())?,
    ];
    plan.model.distinct(&written, &[])?;
    // SAFETY: not null, aligned, apart from what else is in use, and the caller's to write.
    let block = unsafe { slice::from_raw_parts_mut(block, length) };
    // SAFETY: checked.
    let done = unsafe {
        plan.with(channel, sigma, workspace, |view, scratch, clean| {
            let mut written = 0_usize;
            for index in 0..block.len() {
                let Some(&sample) = block.get(index) else {
                    break;
                };
                if let Ok(Some(sample)) = view.push(sample, scratch, &mut *clean)
                    && let Some(place) = block.get_mut(written)
                {
                    *place = sample;
                    written = written.wrapping_add(1);
                }
            }
            written
        })
    }?;
    // SAFETY: not null, aligned, and the caller's to write.
    unsafe { given.write(done) };
    Ok(())
}

/// # Safety
///
/// As the module's safety section demands.
unsafe fn finish<H: Denoiser>(
    model: *const H,
    channel: *mut c_void,
    channel_bytes: usize,
    sigma: Sigma<H>,
    output: *mut H::Sample,
    capacity: usize,
    given: *mut usize,
    workspace: *mut c_void,
    workspace_bytes: usize,
) -> Result<(), Status> {
    // SAFETY: the caller's promise.
    let plan = unsafe { Plan::of(model) }?;
    let sigma = H::known(sigma)?;
    if capacity < plan.windows.latency() {
        return Err(Status::TooSmall);
    }
    let written = [
        plan.channel(channel, channel_bytes)?,
        Region::new(output, capacity)?,
        Region::new(given, 1)?,
        memory::workspace(workspace, workspace_bytes, plan.workspace_bytes())?,
    ];
    plan.model.distinct(&written, &[])?;
    // SAFETY: not null, aligned, apart from what else is in use, and the caller's to write.
    let output = unsafe { slice::from_raw_parts_mut(output, capacity) };
    let mut places = output.iter_mut();
    let mut count = 0_usize;
    // SAFETY: checked.
    unsafe {
        plan.with(channel, sigma, workspace, |view, scratch, clean| {
            // No more samples are in the channel than it holds back.
            let _ = view.finish(scratch, &mut *clean, |sample| {
                if let Some(place) = places.next() {
                    *place = sample;
                    count = count.wrapping_add(1);
                }
            });
        })
    }?;
    // SAFETY: not null, aligned, and the caller's to write.
    unsafe { given.write(count) };
    Ok(())
}

/// Writes how a model of `sparsecode train --task denoise` takes a signal.
///
/// # Safety
///
/// As at the top of the header.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sparsecode_stream_get_info(
    model: *const sparsecode_model,
    info: *mut sparsecode_stream_info,
) -> sparsecode_status {
    // SAFETY: the caller's promises are those of this function.
    attempt(|| unsafe { get_info(model, info) })
}

/// Makes a channel of memory: the next sample is the first. Needed once for each channel, and again
/// to forget all samples and the noise. A channel belongs to this model.
///
/// # Safety
///
/// As at the top of the header.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sparsecode_stream_start(
    model: *const sparsecode_model,
    channel: *mut c_void,
    channel_bytes: usize,
) -> sparsecode_status {
    // SAFETY: the caller's promises are those of this function.
    attempt(|| unsafe { start(model, channel, channel_bytes) })
}

/// Takes raw samples and gives clean ones without drift, in place: the first `given` of `block`,
/// which is all of it once as many samples as the latency went in. What lies behind them is
/// unspecified. `sigma` is the deviation of the noise in raw units; 0: it is estimated.
///
/// # Safety
///
/// As at the top of the header.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sparsecode_stream_push(
    model: *const sparsecode_model,
    channel: *mut c_void,
    channel_bytes: usize,
    sigma: f32,
    block: *mut f32,
    length: usize,
    given: *mut usize,
    workspace: *mut c_void,
    workspace_bytes: usize,
) -> sparsecode_status {
    // SAFETY: the caller's promises are those of this function.
    attempt(|| unsafe {
        push(
            model,
            channel,
            channel_bytes,
            sigma,
            block,
            length,
            given,
            workspace,
            workspace_bytes,
        )
    })
}

/// Ends the signal: writes the samples that are still in the channel to `output`, so that as many
/// have come out as went in. `capacity` is at least the latency. The channel is then as started.
///
/// # Safety
///
/// As at the top of the header.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sparsecode_stream_finish(
    model: *const sparsecode_model,
    channel: *mut c_void,
    channel_bytes: usize,
    sigma: f32,
    output: *mut f32,
    capacity: usize,
    given: *mut usize,
    workspace: *mut c_void,
    workspace_bytes: usize,
) -> sparsecode_status {
    // SAFETY: the caller's promises are those of this function.
    attempt(|| unsafe {
        finish(
            model,
            channel,
            channel_bytes,
            sigma,
            output,
            capacity,
            given,
            workspace,
            workspace_bytes,
        )
    })
}

/// `sparsecode_stream_get_info` for models in integer arithmetic.
///
/// # Safety
///
/// As at the top of the header.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sparsecode_integer_stream_get_info(
    model: *const sparsecode_integer_model,
    info: *mut sparsecode_stream_info,
) -> sparsecode_status {
    // SAFETY: the caller's promises are those of this function.
    attempt(|| unsafe { get_info(model, info) })
}

/// `sparsecode_stream_start` for models in integer arithmetic.
///
/// # Safety
///
/// As at the top of the header.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sparsecode_integer_stream_start(
    model: *const sparsecode_integer_model,
    channel: *mut c_void,
    channel_bytes: usize,
) -> sparsecode_status {
    // SAFETY: the caller's promises are those of this function.
    attempt(|| unsafe { start(model, channel, channel_bytes) })
}

/// `sparsecode_stream_push` for models in integer arithmetic. `sigma` is in sixteenths of a level.
///
/// # Safety
///
/// As at the top of the header.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sparsecode_integer_stream_push(
    model: *const sparsecode_integer_model,
    channel: *mut c_void,
    channel_bytes: usize,
    sigma: u16,
    block: *mut i16,
    length: usize,
    given: *mut usize,
    workspace: *mut c_void,
    workspace_bytes: usize,
) -> sparsecode_status {
    // SAFETY: the caller's promises are those of this function.
    attempt(|| unsafe {
        push(
            model,
            channel,
            channel_bytes,
            sigma,
            block,
            length,
            given,
            workspace,
            workspace_bytes,
        )
    })
}

/// `sparsecode_stream_finish` for models in integer arithmetic. `sigma` is in sixteenths of a
/// level.
///
/// # Safety
///
/// As at the top of the header.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sparsecode_integer_stream_finish(
    model: *const sparsecode_integer_model,
    channel: *mut c_void,
    channel_bytes: usize,
    sigma: u16,
    output: *mut i16,
    capacity: usize,
    given: *mut usize,
    workspace: *mut c_void,
    workspace_bytes: usize,
) -> sparsecode_status {
    // SAFETY: the caller's promises are those of this function.
    attempt(|| unsafe {
        finish(
            model,
            channel,
            channel_bytes,
            sigma,
            output,
            capacity,
            given,
            workspace,
            workspace_bytes,
        )
    })
}
