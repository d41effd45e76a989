//! What is drawn on a picture: rectangles, patches, lines and letters.

use super::font;
use super::{DARK, Picture, WHITE, ZERO_LINE};

/// Pixels per dot of the font.
pub(super) const FONT_SCALE: usize = 2;

pub(super) const ADVANCE: usize = (font::WIDTH + 1) * FONT_SCALE;
pub(super) const LINE: usize = (font::HEIGHT + 1) * FONT_SCALE;

impl Picture {
    /// Draws over a pixel: `coverage` 1 replaces it, 0 leaves it. Outside of the canvas nothing
    /// happens.
    pub(super) fn blend(&mut self, x: usize, y: usize, level: f32, coverage: f32) {
        if x < self.width && y < self.height {
            let pixel = &mut self.levels[y * self.width + x];
            *pixel = level * coverage + *pixel * (1.0 - coverage);
        }
    }

    pub(super) fn rectangle(&mut self, area: Area, level: f32) {
        for y in area.y..area.y + area.height {
            for x in area.x..area.x + area.width {
                self.blend(x, y, level, 1.0);
            }
        }
    }

    /// Draws a patch, a square of `scale` pixels for each of its values.
    pub(super) fn patch(
        &mut self,
        x: usize,
        y: usize,
        patch: &[f32],
        width: usize,
        scale: usize,
        range: Range,
    ) {
        for (index, &value) in patch.iter().enumerate() {
            let area = Area {
                x: x + index % width * scale,
                y: y + index / width * scale,
                width: scale,
                height: scale,
            };
            self.rectangle(area, range.level(value));
        }
    }

    /// Draws samples as a line from the left to the right edge of `area`, anti-aliased; the range's
    /// ends lie on its lower and upper edge. Gaps where samples are not finite.
    pub(super) fn plot(&mut self, area: Area, samples: &[f32], range: Range, pen: Pen) {
        let step = (area.width - 1) as f32 / (samples.len().max(2) - 1) as f32;
        let point = |index: usize| {
            let level = range.level(samples[index]);
            (
                index as f32 * step,
                (1.0 - level) * (area.height - 1) as f32,
            )
        };
        // The greatest coverage by any segment: where two meet, ink is not laid on twice.
        let mut coverage = vec![0.0_f32; area.width * area.height];
        let reach = pen.width / 2.0 + 0.5;
        for index in 0..samples.len() {
            let from = point(index);
            let next = (index + 1).min(samples.len() - 1);
            let to = point(next);
            if !(samples[index].is_finite() && samples[next].is_finite()) {
                continue;
            }
            let span = |a: f32, b: f32, limit: usize| {
                let low = (a.min(b) - reach).floor().max(0.0) as usize;
                let high = (a.max(b) + reach).ceil().max(0.0) as usize;
                low..(high + 1).min(limit)
            };
            for y in span(from.1, to.1, area.height) {
                for x in span(from.0, to.0, area.width) {
                    let distance = distance_to_segment((x as f32, y as f32), from, to);
                    let covered = (reach - distance).clamp(0.0, 1.0);
                    let pixel = &mut coverage[y * area.width + x];
                    *pixel = pixel.max(covered);
                }
            }
        }
        for (index, covered) in coverage.into_iter().enumerate() {
            let (x, y) = (index % area.width, index / area.width);
            self.blend(area.x + x, area.y + y, pen.level, covered);
        }
    }

    /// Draws an empty plot: white, with a line where zero is.
    pub(super) fn plot_frame(&mut self, area: Area, range: Range) {
        self.rectangle(area, WHITE);
        if range.low <= 0.0 && range.high >= 0.0 {
            let inner = area.inset();
            let pen = Pen {
                level: ZERO_LINE,
                width: 1.0,
            };
            self.plot(inner, &[0.0, 0.0], range, pen);
        }
    }

    /// Draws a line of text with its top left at (`x`, `y`).
    pub(super) fn text(&mut self, x: usize, y: usize, text: &str) {
        for (index, character) in text.chars().enumerate() {
            let left = x + index * ADVANCE;
            for row in 0..font::HEIGHT {
                for column in (0..font::WIDTH).filter(|&c| font::dot(character, c, row)) {
                    let dot = Area {
                        x: left + column * FONT_SCALE,
                        y: y + row * FONT_SCALE,
                        width: FONT_SCALE,
                        height: FONT_SCALE,
                    };
                    self.rectangle(dot, DARK);
                }
            }
        }
    }
}

#[derive(Clone, Copy)]
pub(super) struct Area {
    pub(super) x: usize,
    pub(super) y: usize,
    pub(super) width: usize,
    pub(super) height: usize,
}

impl Area {
    /// The part of a plot that lines are drawn in, so that their thickness stays within.
    pub(super) fn inset(self) -> Self {
        const MARGIN: usize = 4;
        Self {
            x: self.x + MARGIN,
            y: self.y + MARGIN,
            width: self.width - 2 * MARGIN,
            height: self.height - 2 * MARGIN,
        }
    }
}

#[derive(Clone, Copy)]
pub(super) struct Pen {
    pub(super) level: f32,
    pub(super) width: f32,
}

/// Which values are black and white, or bottom and top of a plot.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Range {
    pub(super) low: f32,
    pub(super) high: f32,
}

impl Range {
    /// The range of the finite ones among `values`; nothing if they are all alike.
    pub(super) fn of<'a>(values: impl IntoIterator<Item = &'a f32>) -> Option<Self> {
        let mut range = Self {
            low: f32::INFINITY,
            high: f32::NEG_INFINITY,
        };
        for &value in values {
            if value.is_finite() {
                range.low = range.low.min(value);
                range.high = range.high.max(value);
            }
        }
        (range.low < range.high).then_some(range)
    }

    /// ±the largest magnitude; ±1 if all values are zero.
    pub(super) fn symmetric<'a>(values: impl IntoIterator<Item = &'a f32>) -> Self {
        let finite = values.into_iter().filter(|value| value.is_finite());
        let limit = finite.fold(0.0_f32, |limit, value| limit.max(value.abs()));
        let limit = if limit > 0.0 { limit } else { 1.0 };
        Self {
            low: -limit,
            high: limit,
        }
    }

    /// Wider by a part of its span at both ends.
    pub(super) fn widened(self, part: f32) -> Self {
        let margin = (self.high - self.low) * part;
        Self {
            low: self.low - margin,
            high: self.high + margin,
        }
    }

    /// 0..=1 within the range, clipped outside; what is not a number lies in the middle.
    pub(super) fn level(self, value: f32) -> f32 {
        // Halved, so that the span of a range of huge values stays finite.
        let level = (value / 2.0 - self.low / 2.0) / (self.high / 2.0 - self.low / 2.0);
        if level.is_nan() {
            0.5
        } else {
            level.clamp(0.0, 1.0)
        }
    }
}

fn distance_to_segment(point: (f32, f32), from: (f32, f32), to: (f32, f32)) -> f32 {
    let along = (to.0 - from.0, to.1 - from.1);
    let offset = (point.0 - from.0, point.1 - from.1);
    let length_squared = along.0 * along.0 + along.1 * along.1;
    let position = if length_squared > 0.0 {
        ((offset.0 * along.0 + offset.1 * along.1) / length_squared).clamp(0.0, 1.0)
    } else {
        0.0
    };
    (offset.0 - position * along.0).hypot(offset.1 - position * along.1)
}
