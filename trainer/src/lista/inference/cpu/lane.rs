//! The loop, as one thread runs it on its samples.

use std::ops::Range;
use std::sync::{PoisonError, RwLockReadGuard};

use super::hidden::Scratch;
use super::problem::{Constants, Gradient, Problem, Report, TILE};
use crate::lista::inference::config::Stopping;
use crate::tensor::fista::{
    DENSE_FROM, GramProduct, Hinge, Iteration, JoinMoments, Moments, Outcome, Sample, Support,
    TileMoments, UpdateTile, stride,
};
use crate::tensor::team::Barrier;

/// The samples of one thread and their state. Rows are padded to [`stride`].
pub(super) struct Lane {
    tiles: Vec<Tile>,
    points: Vec<f32>,
    codes: Vec<f32>,
    constants: Vec<f32>,
    products: Vec<f32>,
    samples: Vec<Sample>,
    moving: Vec<usize>,
    support: Support,
    hidden: Scratch,
    mean: Vec<f32>,
    factor: Vec<f32>,
    stride: usize,
    code_dim: usize,
    iterations: usize,
}

/// Samples `first..first + rows` of the batch, which are rows `at..at + rows` of the lane.
#[derive(Clone, Copy)]
struct Tile {
    first: usize,
    at: usize,
    rows: usize,
}

impl Lane {
    pub(super) fn new(
        tiles: Range<usize>,
        batch: usize,
        code_dim: usize,
        start: &[f32],
        constants: &Constants<'_>,
    ) -> Self {
        let stride = stride(code_dim);
        let mut lane = Self {
            tiles: Vec::new(),
            points: Vec::new(),
            codes: Vec::new(),
            constants: Vec::new(),
            products: Vec::new(),
            samples: Vec::new(),
            moving: Vec::new(),
            support: Support::default(),
            hidden: Scratch::default(),
            mean: vec![0.0; stride],
            factor: vec![0.0; stride],
            stride,
            code_dim,
            iterations: 0,
        };
        let mut at = 0;
        for tile in tiles {
            let first = tile * TILE;
            let rows = TILE.min(batch - first);
            lane.tiles.push(Tile { first, at, rows });
            at += rows;
        }
        for field in [&mut lane.points, &mut lane.constants, &mut lane.products] {
            field.resize(at * stride, 0.0);
        }
        lane.samples.resize(at, Sample::default());
        for tile in &lane.tiles {
            for row in 0..tile.rows {
                let from = (tile.first + row) * code_dim..(tile.first + row + 1) * code_dim;
                let to = (tile.at + row) * stride..(tile.at + row) * stride + code_dim;
                let start = &start[from.clone()];
                lane.samples[tile.at + row].norm_squared = start.iter().map(|v| v * v).sum();
                lane.points[to.clone()].copy_from_slice(start);
                let constant = &mut lane.constants[to];
                if let Some(correlation) = constants.correlation {
                    constant.copy_from_slice(&correlation[from.clone()]);
                }
                if let Some(codes) = constants.encoder_codes {
                    for (constant, code) in constant.iter_mut().zip(&codes[from]) {
                        *constant += constants.pull * code;
                    }
                }
            }
        }
        lane.codes.clone_from(&lane.points);
        lane
    }

    /// Iterations done.
    pub(super) fn iterations(&self) -> usize {
        self.iterations
    }

    /// Puts codes (`batch × code_dim`) and steps of its samples where they belong.
    pub(super) fn collect(&self, codes: &mut [f32], steps: &mut [u32]) {
        for tile in &self.tiles {
            for row in 0..tile.rows {
                let (sample, at) = (tile.first + row, (tile.at + row) * self.stride);
                codes[sample * self.code_dim..][..self.code_dim]
                    .copy_from_slice(&self.codes[at..at + self.code_dim]);
                steps[sample] = self.samples[tile.at + row].steps;
            }
        }
    }

    /// Iterates until all threads agree that the batch is done.
    pub(super) fn run(&mut self, problem: &Problem<'_>, member: usize, barrier: &Barrier) {
        let config = problem.energy.config();
        if problem.has_hinge {
            self.meet(problem, member, barrier, Outcome::default());
        }
        let mut t = 1.0f64;
        while self.iterations < config.max_iterations {
            self.iterations += 1;
            let t_next = (1.0 + (1.0 + 4.0 * t * t).sqrt()) / 2.0;
            let iteration = Iteration {
                step_size: problem.step_size as f32,
                threshold: (config.lambda * problem.step_size) as f32,
                momentum: ((t - 1.0) / t_next) as f32,
                pull: problem.pull,
                tolerance_squared: config.tolerance * config.tolerance,
                freeze: config.stopping == Stopping::Freeze,
            };
            t = t_next;
            let found = match &problem.gradient {
                Gradient::Linear { gram } => self.linear(gram, iteration, problem.has_hinge),
                Gradient::OneHidden(layers) => {
                    self.moving.clear();
                    let rows = 0..self.samples.len();
                    self.moving
                        .extend(rows.filter(|&row| !self.samples[row].converged));
                    layers.gradient(
                        &mut self.hidden,
                        member,
                        barrier,
                        &self.points,
                        &self.moving,
                        |row| sample_of(&self.tiles, row),
                        &mut self.products,
                        self.stride,
                    );
                    self.update(iteration, problem.has_hinge)
                }
            };
            let joint = self.meet(problem, member, barrier, found);
            if joint.overflowed || joint.moving == 0 {
                break;
            }
            if let Gradient::OneHidden(layers) = &problem.gradient {
                layers.count(&mut self.hidden, member, joint.moving);
            }
        }
    }

    /// One iteration with a linear decoder, tile by tile.
    fn linear(&mut self, gram: &[f32], iteration: Iteration, has_hinge: bool) -> Outcome {
        let mut all = Outcome::default();
        for index in 0..self.tiles.len() {
            let tile = self.tiles[index];
            let samples = &self.samples[tile.at..tile.at + tile.rows];
            self.moving.clear();
            self.moving
                .extend((0..tile.rows).filter(|&row| !samples[row].converged));
            GramProduct {
                gram,
                stride: self.stride,
                points: &self.points[tile.at * self.stride..][..tile.rows * self.stride],
                moving: &self.moving,
                products: &mut self.products[..tile.rows * self.stride],
                support: &mut self.support,
                dense_from: DENSE_FROM,
            }
            .run();
            all += self.update_tile(tile, 0, iteration, has_hinge);
        }
        all
    }

    /// The rest of an iteration, for products of all moving samples.
    fn update(&mut self, iteration: Iteration, has_hinge: bool) -> Outcome {
        let (mut all, mut product) = (Outcome::default(), 0);
        for index in 0..self.tiles.len() {
            let tile = self.tiles[index];
            let samples = &self.samples[tile.at..tile.at + tile.rows];
            let wanted = samples.iter().filter(|sample| !sample.converged).count();
            all += self.update_tile(tile, product, iteration, has_hinge);
            product += wanted;
        }
        all
    }

    /// The fused pass over a tile, whose products begin at row `product`.
    fn update_tile(
        &mut self,
        tile: Tile,
        product: usize,
        iteration: Iteration,
        has_hinge: bool,
    ) -> Outcome {
        let range = tile.at * self.stride..(tile.at + tile.rows) * self.stride;
        UpdateTile {
            iteration,
            hinge: has_hinge.then_some(Hinge {
                mean: &self.mean,
                factor: &self.factor,
            }),
            stride: self.stride,
            products: &self.products[product * self.stride..],
            constants: &self.constants[range.clone()],
            points: &mut self.points[range.clone()],
            codes: &mut self.codes[range],
            samples: &mut self.samples[tile.at..tile.at + tile.rows],
        }
        .run()
    }

    /// Tells the others what was found, waits for them, and joins what all found; with a hinge,
    /// into its mean and factor.
    fn meet(
        &mut self,
        problem: &Problem<'_>,
        member: usize,
        barrier: &Barrier,
        found: Outcome,
    ) -> Outcome {
        // Two sets of reports in turn: a thread that is ahead does not overwrite what others still
        // read.
        let reports = &problem.reports[self.iterations % 2];
        {
            let mut report = reports[member]
                .write()
                .unwrap_or_else(PoisonError::into_inner);
            report.found = found;
            if problem.has_hinge {
                let report = &mut *report;
                for (index, tile) in self.tiles.iter().enumerate() {
                    let columns = index * self.stride..(index + 1) * self.stride;
                    TileMoments {
                        stride: self.stride,
                        rows: tile.rows,
                        points: &self.points[tile.at * self.stride..],
                        mean: &mut report.means[columns.clone()],
                        squares: &mut report.squares[columns],
                    }
                    .run();
                }
            }
        }
        barrier.meet();
        let reports: Vec<RwLockReadGuard<'_, Report>> = reports
            .iter()
            .map(|report| report.read().unwrap_or_else(PoisonError::into_inner))
            .collect();
        if problem.has_hinge {
            // The threads' tiles one after the other are the batch's.
            let tiles: Vec<Moments<'_>> = reports
                .iter()
                .flat_map(|report| {
                    let means = report.means.chunks_exact(self.stride);
                    means.zip(report.squares.chunks_exact(self.stride))
                })
                .enumerate()
                .map(|(tile, (mean, squares))| Moments {
                    rows: TILE.min(problem.batch - tile * TILE),
                    mean,
                    squares,
                })
                .collect();
            let config = problem.energy.config();
            JoinMoments {
                tiles: &tiles,
                batch: problem.batch,
                weight: config.variance_weight,
                threshold: config.variance_threshold as f32,
                mean: &mut self.mean,
                factor: &mut self.factor,
            }
            .run();
        }
        let mut all = Outcome::default();
        reports.iter().for_each(|report| all += report.found);
        all
    }
}

/// The sample of the batch that a row of the lane is.
fn sample_of(tiles: &[Tile], row: usize) -> usize {
    let tile = &tiles[row / TILE];
    tile.first + row - tile.at
}
