//! The GPU's driver: loads the kernels of `trainer/kernels`, holds memory, launches.
//!
//! The driver's library is looked for when the program asks for a GPU, so that a program built with
//! feature `cuda` runs where there is none.

// Calls of the driver, each with what it needs to hold.
#![allow(unsafe_code)]

use std::ffi::{CStr, c_int, c_void};
use std::sync::Arc;

use cudarc::driver::sys::{self, CUdevice_attribute_enum as Attribute, CUresult};
use cudarc::driver::{CudaContext, CudaSlice, CudaStream, DevicePtrMut, DriverError, result};

use super::{Facts, Gpu, GpuError, Launch, Memory};

/// Machine code for 8.0 and 9.0, and what the driver compiles for later ones.
static KERNELS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/sparsecode.fatbin"));

/// Threads of a block.
const THREADS: u32 = 256;
/// Blocks of a cluster.
const CLUSTER: u32 = 8;
/// CUDA's version of the driver that first knows the kernels' format.
const LEAST_DRIVER: c_int = 13_000;
/// Shared memory of the published models' blocks, to tell how many clusters there is room for.
const USUAL_SHARED_BYTES: u32 = 160 * 1024;

/// Queues between the host and the device, at most 32: streams beyond them wait for one another.
const QUEUES: (&str, &str) = ("CUDA_DEVICE_MAX_CONNECTIONS", "32");

/// See [`crate::lista::cuda::let_runs_overlap`].
pub(crate) fn ask_for_queues() {
    let (name, count) = QUEUES;
    let is_alone = || {
        cfg!(windows) || std::fs::read_dir("/proc/self/task").is_ok_and(|tasks| tasks.count() == 1)
    };
    if std::env::var_os(name).is_none() && is_alone() {
        // SAFETY: the process has no other thread that could read the environment meanwhile; on
        // Windows any may.
        unsafe { std::env::set_var(name, count) };
    }
}

/// A GPU by its driver.
#[derive(Debug)]
pub(crate) struct Driver {
    context: Arc<CudaContext>,
    kernels: Kernels,
    facts: Facts,
}

#[derive(Clone, Copy, Debug)]
struct Kernels {
    cluster: sys::CUfunction,
    grid: sys::CUfunction,
}

// SAFETY: handles of functions of a module that is never unloaded; the driver may be called with
// them from any thread that the context is bound to, which `bind_to_thread` sees to before each
// use.
unsafe impl Send for Kernels {}
// SAFETY: as above; nothing is changed through them.
unsafe impl Sync for Kernels {}

fn told(error: DriverError) -> GpuError {
    let name = error.error_name().ok().map(CStr::to_string_lossy);
    let text = error.error_string().ok().map(CStr::to_string_lossy);
    GpuError::Driver(format!(
        "{}: {}",
        name.unwrap_or_default(),
        text.unwrap_or_default()
    ))
}

impl Driver {
    /// The GPU of this number, from 0.
    pub(crate) fn open(ordinal: usize) -> Result<Self, GpuError> {
        // SAFETY: loads the driver's library and lets it go again.
        if !unsafe { sys::is_culib_present() } {
            let message = "the driver's library (libcuda.so.1, nvcuda.dll) is not installed";
            return Err(GpuError::Absent(message.into()));
        }
        let absent = |error: DriverError| match told(error) {
            GpuError::Driver(text) => GpuError::Absent(text),
            other => other,
        };
        result::init().map_err(absent)?;
        let mut version = 0;
        // SAFETY: writes to `version` alone.
        unsafe { sys::cuDriverGetVersion(&mut version) }
            .result()
            .map_err(absent)?;
        if version < LEAST_DRIVER {
            let (major, minor) = (version / 1000, version % 1000 / 10);
            return Err(GpuError::OldDriver(format!("it is CUDA {major}.{minor}'s")));
        }
        let context = CudaContext::new(ordinal).map_err(absent)?;
        let name = context.name().map_err(told)?;
        let (major, minor) = context.compute_capability().map_err(told)?;
        if major < 8 {
            return Err(GpuError::TooOld { name, major, minor });
        }
        // The host waits for launches of a tenth of a second: no need to spin. It works without,
        // too.
        let _ = context.set_blocking_synchronize();
        let attribute = |attribute| context.attribute(attribute).map_err(told);
        let processors = attribute(Attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)?;
        let shared_bytes =
            attribute(Attribute::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN)?;
        let has_clusters = attribute(Attribute::CU_DEVICE_ATTRIBUTE_CLUSTER_LAUNCH)? != 0;
        let kernels = Kernels::load(shared_bytes)?;
        let clusters = match has_clusters {
            true => kernels.clusters(USUAL_SHARED_BYTES.min(shared_bytes.unsigned_abs()))?,
            false => 0,
        };
        let facts = Facts {
            name,
            processors: processors.unsigned_abs() as usize,
            shared_bytes: shared_bytes.unsigned_abs() as usize,
            clusters,
        };
        Ok(Self {
            context,
            kernels,
            facts,
        })
    }
}

impl Kernels {
    /// Loads them into the context that is bound to this thread, for as long as the program runs.
    fn load(shared_bytes: c_int) -> Result<Self, GpuError> {
        // SAFETY: a complete image that nvcc has written.
        let module =
            unsafe { result::module::load_data(KERNELS.as_ptr().cast()) }.map_err(|error| {
                match error.0 {
                    CUresult::CUDA_ERROR_NO_BINARY_FOR_GPU => {
                        let message = "this program has no code for this GPU; use --device cpu";
                        GpuError::Driver(message.into())
                    }
                    CUresult::CUDA_ERROR_INVALID_IMAGE
                    | CUresult::CUDA_ERROR_UNSUPPORTED_PTX_VERSION => match told(error) {
                        GpuError::Driver(text) => GpuError::OldDriver(text),
                        other => other,
                    },
                    _ => told(error),
                }
            })?;
        let function = |name: &CStr| {
            // SAFETY: of a module that has just been loaded.
            let function =
                unsafe { result::module::get_function(module, name.into()) }.map_err(told)?;
            // SAFETY: of a function that has just been found. What the device allows is allowed; a
            // launch takes what it needs.
            unsafe {
                sys::cuFuncSetAttribute(
                    function,
                    sys::CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES,
                    shared_bytes,
                )
            }
            .result()
            .map_err(told)?;
            Ok(function)
        };
        Ok(Self {
            cluster: function(c"sparsecode_cluster")?,
            grid: function(c"sparsecode_grid")?,
        })
    }

    /// How many clusters of such blocks run at a time.
    fn clusters(&self, shared_bytes: u32) -> Result<usize, GpuError> {
        let mut attributes = [cluster_of(CLUSTER)];
        let config = config(CLUSTER, shared_bytes, std::ptr::null_mut(), &mut attributes);
        let mut count = 0;
        // SAFETY: writes to `count` alone; the configuration and its attributes outlive the call.
        unsafe { sys::cuOccupancyMaxActiveClusters(&mut count, self.cluster, &config) }
            .result()
            .map_err(told)?;
        Ok(count.unsigned_abs() as usize)
    }
}

fn attribute(
    id: sys::CUlaunchAttributeID,
    value: sys::CUlaunchAttributeValue,
) -> sys::CUlaunchAttribute {
    sys::CUlaunchAttribute {
        id,
        pad: [0; 4],
        value,
    }
}

/// One cluster of so many blocks.
fn cluster_of(blocks: u32) -> sys::CUlaunchAttribute {
    let mut value = sys::CUlaunchAttributeValue { pad: [0; 64] };
    value.clusterDim.x = blocks;
    value.clusterDim.y = 1;
    value.clusterDim.z = 1;
    attribute(
        sys::CUlaunchAttributeID::CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION,
        value,
    )
}

/// A grid whose blocks all run at the same time.
fn cooperative() -> sys::CUlaunchAttribute {
    let mut value = sys::CUlaunchAttributeValue { pad: [0; 64] };
    value.cooperative = 1;
    attribute(
        sys::CUlaunchAttributeID::CU_LAUNCH_ATTRIBUTE_COOPERATIVE,
        value,
    )
}

fn config(
    blocks: u32,
    shared_bytes: u32,
    stream: sys::CUstream,
    attributes: &mut [sys::CUlaunchAttribute],
) -> sys::CUlaunchConfig {
    sys::CUlaunchConfig {
        gridDimX: blocks,
        gridDimY: 1,
        gridDimZ: 1,
        blockDimX: THREADS,
        blockDimY: 1,
        blockDimZ: 1,
        sharedMemBytes: shared_bytes,
        hStream: stream,
        attrs: attributes.as_mut_ptr(),
        numAttrs: attributes.len() as u32,
    }
}

impl Gpu for Driver {
    fn facts(&self) -> &Facts {
        &self.facts
    }

    fn allocate(&self, bytes: u64) -> Result<Box<dyn Memory>, GpuError> {
        let stream = self.context.new_stream().map_err(told)?;
        let arena = stream.alloc_zeros(bytes as usize).map_err(|error| {
            if error.0 != CUresult::CUDA_ERROR_OUT_OF_MEMORY {
                return told(error);
            }
            let (free, _) = self.context.mem_get_info().unwrap_or_default();
            GpuError::OutOfMemory {
                wanted: bytes.div_ceil(1 << 20),
                free: (free >> 20) as u64,
            }
        })?;
        Ok(Box::new(DeviceMemory {
            arena,
            stream,
            kernels: self.kernels,
        }))
    }
}

/// Device memory, and the stream in which everything that is done with it follows on one another.
struct DeviceMemory {
    arena: CudaSlice<u8>,
    stream: Arc<CudaStream>,
    kernels: Kernels,
}

impl Memory for DeviceMemory {
    fn write(&mut self, place: u64, bytes: &[u8]) -> Result<(), GpuError> {
        let place = place as usize;
        let mut to = self.arena.slice_mut(place..place + bytes.len());
        self.stream.memcpy_htod(bytes, &mut to).map_err(told)
    }

    fn read(&mut self, place: u64, bytes: &mut [u8]) -> Result<(), GpuError> {
        let place = place as usize;
        let from = self.arena.slice(place..place + bytes.len());
        self.stream.memcpy_dtoh(&from, bytes).map_err(told)?;
        self.stream.synchronize().map_err(told)
    }

    fn launch(&mut self, launch: &Launch<'_>) -> Result<(), GpuError> {
        let barrier = launch.barrier as usize;
        let mut count_of_arrivals = self.arena.slice_mut(barrier..barrier + 4);
        self.stream
            .memset_zeros(&mut count_of_arrivals)
            .map_err(told)?;
        // As kernels take a structure: at an address that fits its widest field.
        let mut run: Vec<u64> = launch
            .run
            .as_chunks::<8>()
            .0
            .iter()
            .map(|bytes| u64::from_ne_bytes(*bytes))
            .collect();
        let (mut first, mut count) = (launch.first as c_int, launch.count as c_int);
        let blocks = launch.blocks as u32;
        let (function, mut attributes) = match launch.is_cluster {
            true => (self.kernels.cluster, [cluster_of(blocks)]),
            false => (self.kernels.grid, [cooperative()]),
        };
        let context = Arc::clone(self.stream.context());
        context.bind_to_thread().map_err(told)?;
        let config = config(
            blocks,
            launch.shared_bytes as u32,
            self.stream.cu_stream(),
            &mut attributes,
        );
        let stream = Arc::clone(&self.stream);
        let (mut arena, _held) = self.arena.device_ptr_mut(&stream);
        let mut parameters: [*mut c_void; 4] = [
            (&raw mut arena).cast(),
            run.as_mut_ptr().cast(),
            (&raw mut first).cast(),
            (&raw mut count).cast(),
        ];
        // SAFETY: the parameters are those that both kernels declare: an address, `struct Run` (its
        // size is asserted on both sides), two ints; the driver copies them before it returns.
        // Every place in `run` was given out by the arena's own layout, so that the kernel stays
        // within it; the stream orders it against all other use.
        unsafe {
            sys::cuLaunchKernelEx(
                &config,
                function,
                parameters.as_mut_ptr(),
                std::ptr::null_mut(),
            )
        }
        .result()
        .map_err(told)
    }
}
