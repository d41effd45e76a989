// Products of matrices, tile by tile, divided among the blocks of a team.
//
// An element is one chain of fused multiply-adds over k, or, where a product has fewer tiles than
// jobs are wanted, the sum of the chains of equal parts of k in their order. Neither depends on
// which block computes it, nor on how many blocks there are.
#pragma once

#include "run.h"
#include "team.cuh"

// Rows and columns of a tile, and how deep it is loaded at a time.
constexpr int TILE = 64;
constexpr int DEPTH = 16;
// Rows of tiles in shared memory are moved on by four floats, against bank conflicts.
constexpr int TILE_STRIDE = TILE + 4;
// Two stages of both operands.
constexpr int PRODUCT_FLOATS = 4 * DEPTH * TILE_STRIDE;
// What each part of a product is at least deep.
constexpr int LEAST_DEPTH = 128;
// Products that may be under way at the same time.
constexpr int REGIONS = 3;

// `data[i · row + j · column]`, or with `rows[i]` in place of i.
struct Matrix {
  const float* data;
  int row, column;
  const int* rows;

  DEVICE Matrix(const float* data, int row, int column, const int* rows = nullptr)
      : data(data), row(row), column(column), rows(rows) {}
  DEVICE float at(int i, int j) const {
    int from = rows ? rows[i] : i;
    return data[static_cast<size_t>(from) * row + static_cast<size_t>(j) * column];
  }
};

// a · b: rows × depth times depth × columns; what becomes of element (i, j) is said by `write(i, j,
// value)`.
template <class Write>
struct Task {
  Matrix a, b;
  int rows, columns, depth;
  // Which of the regions for parts is its own.
  int region;
  Write write;

  DEVICE int tile_rows() const { return (rows + TILE - 1) / TILE; }
  DEVICE int tile_columns() const { return (columns + TILE - 1) / TILE; }
  // How deep each part is.
  DEVICE int part_depth(int wanted_jobs) const {
    int tiles = tile_rows() * tile_columns();
    int parts = tiles > 0 ? wanted_jobs / tiles : 1;
    int most = depth / LEAST_DEPTH;
    if (parts > most) parts = most;
    if (parts < 1) parts = 1;
    int each = (depth + parts - 1) / parts;
    return each > 0 ? (each + DEPTH - 1) / DEPTH * DEPTH : DEPTH;
  }
  DEVICE int parts(int wanted_jobs) const {
    int each = part_depth(wanted_jobs);
    return depth > each ? (depth + each - 1) / each : 1;
  }
};

template <class Write>
DEVICE Task<Write> task(int region, Matrix a, Matrix b, int rows, int columns, int depth, Write write) {
  return Task<Write>{a, b, rows, columns, depth, region, write};
}

// Elements of an operand on their way to shared memory: each thread has four. Neighbouring threads
// read neighbouring numbers, whichever way the matrix is turned.
struct Stage {
  float values[4];

  // Which element of a tile is the q-th of a thread, along the matrix's rows or its columns (one of
  // them k).
  DEVICE static void place(bool rows_lie_together, int q, int& wide, int& deep) {
    int e = thread() + THREADS * q;
    if (rows_lie_together) {
      deep = e % DEPTH, wide = e / DEPTH;
    } else {
      wide = e % TILE, deep = e / TILE;
    }
  }

  // Of a: `wide` counts rows, `deep` columns. Of b, the other way round.
  DEVICE void load_a(const Matrix& m, int row, int rows, int from, int end) {
#pragma unroll
    for (int q = 0; q < 4; q++) {
      int i, k;
      place(m.column == 1, q, i, k);
      values[q] = row + i < rows && from + k < end ? m.at(row + i, from + k) : 0.0f;
    }
  }
  DEVICE void load_b(const Matrix& m, int column, int columns, int from, int end) {
#pragma unroll
    for (int q = 0; q < 4; q++) {
      int j, k;
      place(m.column != 1, q, j, k);
      values[q] = column + j < columns && from + k < end ? m.at(from + k, column + j) : 0.0f;
    }
  }

  DEVICE void store(bool rows_lie_together, float* tile) const {
#pragma unroll
    for (int q = 0; q < 4; q++) {
      int wide, deep;
      place(rows_lie_together, q, wide, deep);
      tile[deep * TILE_STRIDE + wide] = values[q];
    }
  }
};

// Elements (4 i + ., 4 j + .) of a tile, thread 16 i + j.
struct Sums {
  float of[4][4];
};

// The part `from..end` over k of the tile at (row, column) of a · b. One function for all products:
// it is most of the code.
ONE_COPY Sums tile_sums(float* pool, Matrix a, Matrix b, int row, int rows, int column, int columns, int from, int end) {
  constexpr int HALF = DEPTH * TILE_STRIDE;
  float *tile_a = pool, *tile_b = pool + 2 * HALF;
  int i0 = thread() / 16 * 4, j0 = thread() % 16 * 4;
  Sums sums = {};
  Stage next_a, next_b;
  next_a.load_a(a, row, rows, from, end);
  next_b.load_b(b, column, columns, from, end);
  // Of the tile before, nobody may be behind.
  __syncthreads();
  next_a.store(a.column == 1, tile_a);
  next_b.store(b.column != 1, tile_b);
  __syncthreads();
  int now = 0;
  for (int k0 = from; k0 < end; k0 += DEPTH) {
    bool more = k0 + DEPTH < end;
    if (more) {
      next_a.load_a(a, row, rows, k0 + DEPTH, end);
      next_b.load_b(b, column, columns, k0 + DEPTH, end);
    }
#pragma unroll
    for (int k = 0; k < DEPTH; k++) {
      float4 a4 = *reinterpret_cast<float4*>(tile_a + now * HALF + k * TILE_STRIDE + i0);
      float4 b4 = *reinterpret_cast<float4*>(tile_b + now * HALF + k * TILE_STRIDE + j0);
      float as[4] = {a4.x, a4.y, a4.z, a4.w}, bs[4] = {b4.x, b4.y, b4.z, b4.w};
#pragma unroll
      for (int i = 0; i < 4; i++)
#pragma unroll
        for (int j = 0; j < 4; j++) sums.of[i][j] = fmaf(as[i], bs[j], sums.of[i][j]);
    }
    if (more) {
      now = 1 - now;
      next_a.store(a.column == 1, tile_a + now * HALF);
      next_b.store(b.column != 1, tile_b + now * HALF);
      __syncthreads();
    }
  }
  return sums;
}

// The blocks of a team, and what they need for products.
template <class Team>
struct Products {
  Team team;
  float* pool;
  float* parts;
  size_t part_floats;
  int wanted_jobs;

  // Does the block's jobs of a task, of which the first is job `first` of the phase; returns the
  // number after its last.
  template <class Write>
  DEVICE int multiply(const Task<Write>& t, int first) {
    int parts_of = t.parts(wanted_jobs), depth = t.part_depth(wanted_jobs);
    int tiles = t.tile_rows() * t.tile_columns(), jobs = tiles * parts_of, size = team.size();
    float* sums = parts + t.region * part_floats;
    for (int job = (team.rank() + size - first % size) % size; job < jobs; job += size) {
      int part = job / tiles, tile = job % tiles;
      int row = tile / t.tile_columns() * TILE, column = tile % t.tile_columns() * TILE;
      int from = part * depth, end = from + depth < t.depth ? from + depth : t.depth;
      Sums tile_of = tile_sums(pool, t.a, t.b, row, t.rows, column, t.columns, from, end);
      float* out = sums + static_cast<size_t>(part) * t.rows * t.columns;
      int i0 = row + thread() / 16 * 4, j0 = column + thread() % 16 * 4;
#pragma unroll
      for (int i = 0; i < 4; i++)
#pragma unroll
        for (int j = 0; j < 4; j++) {
          if (i0 + i >= t.rows || j0 + j >= t.columns) continue;
          if (parts_of == 1) {
            t.write(i0 + i, j0 + j, tile_of.of[i][j]);
          } else {
            out[static_cast<size_t>(i0 + i) * t.columns + j0 + j] = tile_of.of[i][j];
          }
        }
    }
    return first + jobs;
  }

  // The sum of the parts of an element.
  template <class Write>
  DEVICE float joined(const Task<Write>& t, int element) const {
    const float* sums = parts + t.region * part_floats;
    size_t count = static_cast<size_t>(t.rows) * t.columns;
    float sum = sums[element];
    for (int part = 1; part < t.parts(wanted_jobs); part++) sum += sums[part * count + element];
    return sum;
  }

  template <class Write>
  DEVICE void finish(const Task<Write>& t) {
    if (t.parts(wanted_jobs) == 1) return;
    for (int e = team.member(); e < t.rows * t.columns; e += team.members()) t.write(e / t.columns, e % t.columns, joined(t, e));
  }

  // Does tasks that do not depend on each other. Ends with a barrier.
  template <class... Tasks>
  DEVICE void perform(const Tasks&... tasks) {
    int first = 0;
    ((first = multiply(tasks, first)), ...);
    team.sync();
    if (((tasks.parts(wanted_jobs) > 1) || ...)) {
      (finish(tasks), ...);
      team.sync();
    }
  }
};
