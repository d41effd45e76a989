//! Where everything of a run lies: in the arena, and in a block's shared memory.

use super::run::{Parameter, Place, RECORD, Run, Storage};

/// Samples whose column statistics are taken together.
const TILE_SAMPLES: usize = 16;
/// Codes are padded to a multiple of this.
const CHUNK: usize = 128;
/// Floats of shared memory that products take.
const PRODUCT_FLOATS: usize = 4 * 16 * 68;
/// Floats of a tile of a product.
const TILE_FLOATS: usize = 64 * 64;
/// Products under way at the same time.
const REGIONS: usize = 3;
/// The head of a mailbox.
const BOX_HEAD: usize = 4;
/// Warps of a block.
const WARPS: usize = 8;
/// Figures of each sample.
const SAMPLE_FIGURES: usize = 6;
/// Blocks in a cluster. Every GPU with clusters takes so many.
const CLUSTER: usize = 8;
/// The most blocks of a run: products have no more jobs.
const MOST_BLOCKS: usize = 128;

/// The sizes that decide how a run is laid out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sizes {
    pub(crate) input_dim: usize,
    pub(crate) code_dim: usize,
    pub(crate) hidden_dim: usize,
    pub(crate) batch_size: usize,
    pub(crate) lista_iterations: usize,
    pub(crate) max_iterations: usize,
    pub(crate) has_encoder: bool,
    /// Batches that figures are kept of.
    pub(crate) batches: usize,
}

/// What a GPU can hold and do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Its name.
    pub name: String,
    /// Multiprocessors.
    pub processors: usize,
    /// Shared memory that a block may have, in bytes.
    pub shared_bytes: usize,
    /// Clusters of eight blocks that run at a time; 0 where there are no clusters.
    pub clusters: usize,
}

impl Facts {
    /// Teams of linear decoders' runs that there is room for.
    pub fn concurrent_runs(&self) -> usize {
        match self.clusters {
            0 => self.processors / CLUSTER,
            clusters => clusters,
        }
        .max(1)
    }
}

/// The blocks that work on a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Team {
    pub(crate) is_cluster: bool,
    pub(crate) blocks: usize,
    pub(crate) storage: Storage,
    pub(crate) shared_bytes: usize,
    block_tiles: usize,
}

impl Sizes {
    /// l, padded.
    pub(crate) fn padded(&self) -> usize {
        self.code_dim.next_multiple_of(CHUNK)
    }

    fn tiles(&self) -> usize {
        self.batch_size.div_ceil(TILE_SAMPLES)
    }

    /// Jobs that a product is divided into: as many as the team that this kind of decoder usually
    /// has.
    fn wanted_jobs(&self) -> usize {
        if self.hidden_dim == 0 {
            CLUSTER
        } else {
            MOST_BLOCKS
        }
    }

    /// How a GPU that is shared by so many runs goes about this one.
    ///
    /// The blocks of a linear decoder's loop wait for each other in every iteration, which is cheap
    /// in a cluster; a one-hidden decoder's products have work for the whole GPU.
    pub(crate) fn team(&self, gpu: &Facts, runs: usize) -> Option<Team> {
        let blocks = if self.hidden_dim == 0 {
            CLUSTER.min(gpu.processors)
        } else {
            (gpu.processors / runs.max(1)).clamp(1, MOST_BLOCKS)
        };
        let block_tiles = self.tiles().div_ceil(blocks);
        let storages = [
            Storage::BothShared,
            Storage::StateShared,
            Storage::BothGlobal,
        ];
        // A grid's mailboxes are in global memory: it takes what is too large for a cluster.
        let teams = [true, false]
            .into_iter()
            .filter(|is_cluster| !is_cluster || self.hidden_dim == 0 && gpu.clusters > 0)
            .flat_map(|is_cluster| storages.map(|storage| (is_cluster, storage)))
            .filter(|(_, storage)| *storage != Storage::BothShared || self.hidden_dim == 0);
        let mut fitting = teams.filter_map(|(is_cluster, storage)| {
            let shared_bytes = 4 * self.shared_floats(storage, block_tiles, is_cluster);
            (shared_bytes <= gpu.shared_bytes).then_some(Team {
                is_cluster,
                blocks,
                storage,
                shared_bytes,
                block_tiles,
            })
        });
        fitting.next()
    }

    /// What `Block` in `fista.cuh` takes.
    fn shared_floats(&self, storage: Storage, block_tiles: usize, is_cluster: bool) -> usize {
        let samples = block_tiles * TILE_SAMPLES;
        let mut floats = PRODUCT_FLOATS + 2 * self.padded() + 3 * samples + 4;
        if storage != Storage::BothGlobal {
            floats += self.state_floats(block_tiles);
        }
        if self.hidden_dim > 0 {
            floats += 2 * self.batch_size.next_multiple_of(4) + 4;
        }
        if is_cluster {
            floats += 2 * self.box_floats(block_tiles);
        }
        floats += WARPS * self.padded() / 2;
        if storage == Storage::BothShared {
            floats += self.code_dim * self.padded();
        }
        floats
    }

    /// Codes, points, constants and products of a block's samples.
    fn state_floats(&self, block_tiles: usize) -> usize {
        4 * block_tiles * TILE_SAMPLES * self.padded()
    }

    fn box_floats(&self, block_tiles: usize) -> usize {
        BOX_HEAD + block_tiles * 2 * self.padded()
    }
}

/// Gives out places, each on a line of 128 bytes of its own.
#[derive(Debug, Default)]
pub(crate) struct Arena {
    floats: u64,
}

impl Arena {
    /// Room for so many floats.
    pub(crate) fn floats(&mut self, count: usize) -> Place {
        let place = self.floats;
        self.floats += (count.max(1) as u64).next_multiple_of(32);
        place
    }

    fn doubles(&mut self, count: usize) -> Place {
        self.floats(2 * count)
    }

    /// All that was given out.
    pub(crate) fn bytes(&self) -> u64 {
        4 * self.floats
    }
}

/// The parameters one after the other, as they lie among parameters, gradients and each moment.
pub(crate) fn parameters<'a>(
    all: impl IntoIterator<Item = (&'a str, usize, f64)>,
) -> [Parameter; 6] {
    let mut places = Arena::default();
    let mut parameters = [Parameter::default(); 6];
    for (name, count, decay) in all {
        parameters[super::run::index_of(name)] = Parameter {
            offset: places.floats(count),
            count: count as u64,
            decay: decay as f32,
            is_encoder: name.starts_with("encoder."),
        };
    }
    parameters
}

/// Lays out what does not depend on the data set.
pub(crate) fn workspace(
    arena: &mut Arena,
    sizes: &Sizes,
    team: &Team,
    parameter: [Parameter; 6],
) -> Run {
    let (d, l, m, n) = (
        sizes.input_dim,
        sizes.code_dim,
        sizes.hidden_dim,
        sizes.batch_size,
    );
    let all: usize = parameter
        .iter()
        .map(|parameter| (parameter.offset + parameter.count) as usize)
        .max()
        .unwrap_or(0);
    let iterations = if sizes.has_encoder {
        sizes.lista_iterations + 1
    } else {
        1
    };
    let part_floats = sizes.wanted_jobs() * TILE_FLOATS;
    let grid_boxes = match team.is_cluster {
        true => 0,
        false => team.blocks * 2 * sizes.box_floats(team.block_tiles),
    };
    let state = match team.storage {
        Storage::BothGlobal => team.blocks * sizes.state_floats(team.block_tiles),
        _ => 0,
    };
    let own_points = if m > 0 { n * l } else { 0 };
    Run {
        momentum: arena.floats(sizes.max_iterations),
        updates: arena.floats(4 * sizes.batches),
        records: arena.doubles(RECORD * sizes.batches),
        used: arena.floats(l),
        status: arena.floats(1 + parameter.len()),
        parameters: arena.floats(all),
        first_moment: arena.floats(all),
        second_moment: arena.floats(all),
        gradient: arena.floats(all),
        batch: arena.floats(n * d),
        drive: arena.floats(n * l),
        drive_gradient: arena.floats(n * l),
        start: arena.floats(n * l),
        encoder_codes: arena.floats(n * l),
        codes: arena.floats(n * l),
        correlation: arena.floats(n * l),
        trace: arena.floats(iterations * n * l),
        deltas: arena.floats(iterations * n * l),
        gram: arena.floats(l * sizes.padded()),
        error: arena.floats(n * d),
        hidden: arena.floats(n * m),
        hidden_delta: arena.floats(n * m),
        rows: arena.doubles(SAMPLE_FIGURES * n),
        columns: arena.doubles(l),
        parts: arena.floats(REGIONS * part_floats),
        points: arena.floats(own_points),
        moving: arena.floats(n),
        steps: arena.floats(n + 1),
        state: arena.floats(state),
        boxes: arena.floats(grid_boxes),
        barrier: arena.floats(1),
        part_floats: part_floats as u64,
        parameter,
        storage: team.storage as i32,
        input_dim: d as i32,
        code_dim: l as i32,
        hidden_dim: m as i32,
        batch_size: n as i32,
        lista_iterations: sizes.lista_iterations as i32,
        max_iterations: sizes.max_iterations as i32,
        padded: sizes.padded() as i32,
        has_encoder: i32::from(sizes.has_encoder),
        wanted_jobs: sizes.wanted_jobs() as i32,
        block_tiles: team.block_tiles as i32,
        ..Run::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOPPER: Facts = Facts {
        name: String::new(),
        processors: 132,
        shared_bytes: 227 * 1024,
        clusters: 16,
    };

    fn sizes(code_dim: usize, hidden_dim: usize) -> Sizes {
        Sizes {
            input_dim: 784,
            code_dim,
            hidden_dim,
            batch_size: 250,
            lista_iterations: 3,
            max_iterations: 200,
            has_encoder: true,
            batches: 220,
        }
    }

    /// What docs/engines.md says of shared memory.
    #[test]
    fn teams_of_the_published_sizes() {
        let mnist = sizes(128, 0).team(&HOPPER, 1).unwrap();
        assert_eq!((mnist.blocks, mnist.storage), (8, Storage::BothShared));
        assert_eq!(mnist.shared_bytes, 156_080);
        let patches = sizes(256, 0).team(&HOPPER, 1).unwrap();
        assert_eq!(patches.storage, Storage::StateShared);
        let wide = sizes(1024, 0).team(&HOPPER, 1).unwrap();
        assert_eq!((wide.is_cluster, wide.storage), (true, Storage::BothGlobal));
        let large = Sizes {
            batch_size: 2000,
            ..sizes(1024, 0)
        };
        let large = large.team(&HOPPER, 1).unwrap();
        assert_eq!(
            (large.is_cluster, large.storage),
            (false, Storage::BothGlobal)
        );
        let hidden = sizes(128, 1024).team(&HOPPER, 1).unwrap();
        assert_eq!(
            (hidden.is_cluster, hidden.blocks, hidden.storage),
            (false, 128, Storage::StateShared)
        );
        assert_eq!(sizes(128, 1024).team(&HOPPER, 4).unwrap().blocks, 33);
    }

    /// Codes so long that not even the mailboxes fit.
    #[test]
    fn what_does_not_fit_has_no_team() {
        assert_eq!(sizes(100_000, 0).team(&HOPPER, 1), None);
    }

    #[test]
    fn places_are_lines_of_their_own() {
        let mut arena = Arena::default();
        let places = [arena.floats(1), arena.floats(33), arena.floats(0)];
        assert_eq!(places, [0, 32, 96]);
        assert_eq!(arena.bytes(), 4 * 128);
    }
}
