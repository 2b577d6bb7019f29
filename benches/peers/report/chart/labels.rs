//! Finds room for the labels of points, so that none covers another.

/// A rectangle in pixels: left, top, right, bottom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rect {
    /// The left edge.
    pub left: i32,
    /// The upper edge.
    pub top: i32,
    /// The right edge.
    pub right: i32,
    /// The lower edge.
    pub bottom: i32,
}

impl Rect {
    /// A box by its left upper corner and its size.
    pub fn at((left, top): (i32, i32), (width, height): (i32, i32)) -> Self {
        Self { left, top, right: left + width, bottom: top + height }
    }

    /// A box around a level line, so many pixels wider on all sides.
    pub fn along(from: (i32, i32), to: (i32, i32), wider: i32) -> Self {
        let size = (to.0 - from.0 + 2 * wider, 2 * wider);
        Self::at((from.0 - wider, from.1 - wider), size)
    }

    fn around((x, y): (i32, i32), radius: i32) -> Self {
        Self::at((x - radius, y - radius), (2 * radius, 2 * radius))
    }

    /// How many pixels both cover.
    pub fn shared(&self, other: &Self) -> i32 {
        let width = self.right.min(other.right) - self.left.max(other.left);
        let height = self.bottom.min(other.bottom) - self.top.max(other.top);
        width.max(0) * height.max(0)
    }

    fn area(&self) -> i32 {
        (self.right - self.left) * (self.bottom - self.top)
    }
}

/// How far a point reaches.
const POINT: i32 = 6;
/// How far from its point a label is tried.
const DISTANCES: [i32; 6] = [10, 20, 34, 50, 70, 95];

/// Boxes of the given `sizes` for the labels of `points`, in their order, within `bounds` and clear
/// of what is `taken`.
///
/// Each is as near to its point as there is room; where there is none at all, it covers as little
/// as can be.
pub fn place(
    points: &[(i32, i32)],
    sizes: &[(i32, i32)],
    mut taken: Vec<Rect>,
    bounds: &Rect,
) -> Vec<Rect> {
    taken.extend(points.iter().map(|point| Rect::around(*point, POINT)));
    let mut placed = Vec::new();
    for (point, size) in points.iter().zip(sizes) {
        let candidates = DISTANCES.iter().flat_map(|distance| around(*point, *size, *distance));
        let cost = |label: &Rect| {
            let covered: i32 = taken.iter().map(|other| label.shared(other)).sum();
            covered + (label.area() - label.shared(bounds)) * 4
        };
        // The first of those that are as good: the nearest.
        if let Some(label) = candidates.min_by_key(cost) {
            taken.push(label);
            placed.push(label);
        }
    }
    placed
}

/// The places at some distance from a point: right, left, above, below, and aslant.
fn around((x, y): (i32, i32), size: (i32, i32), distance: i32) -> [Rect; 8] {
    let (width, height) = size;
    let aslant = distance * 7 / 10;
    let (middle, center) = (y - height / 2, x - width / 2);
    [
        (x + distance, middle),
        (x - distance - width, middle),
        (center, y - distance - height),
        (center, y + distance),
        (x + aslant, y - aslant - height),
        (x + aslant, y + aslant),
        (x - aslant - width, y - aslant - height),
        (x - aslant - width, y + aslant),
    ]
    .map(|corner| Rect::at(corner, size))
}
