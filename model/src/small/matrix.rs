//! Dense `f32` matrices, and sums over slices that compile to vector instructions.
//!
//! Products are those of `ndarray`: in the calling thread, with any strides, into memory that is there already. Candle's
//! read `/proc/cpuinfo` at every call, and its element-wise operations share one pool of threads behind a lock, so that
//! two trainings side by side would wait for each other.

use crate::math::exp;
use ndarray::linalg::general_mat_mul;
use ndarray::{Array2, ArrayView2, ArrayViewMut2, Axis};
use std::ops::Range;
use std::slice::{ChunksExact, ChunksExactMut};

/// A matrix in row-major order, with at least one column.
#[derive(Clone, Debug)]
pub(crate) struct Matrix(Array2<f32>);

impl Matrix {
    pub(crate) fn zeros(rows: usize, cols: usize) -> Self {
        Self(Array2::zeros((rows, cols)))
    }

    /// A matrix of zeros of the same shape.
    pub(crate) fn zeros_like(&self) -> Self {
        Self::zeros(self.rows(), self.cols())
    }

    pub(crate) fn rows(&self) -> usize {
        self.0.nrows()
    }

    pub(crate) fn cols(&self) -> usize {
        self.0.ncols()
    }

    pub(crate) fn values(&self) -> &[f32] {
        self.0.as_slice().expect("row-major order")
    }

    pub(crate) fn values_mut(&mut self) -> &mut [f32] {
        self.0.as_slice_mut().expect("row-major order")
    }

    pub(crate) fn into_values(self) -> Vec<f32> {
        self.0.into_raw_vec_and_offset().0
    }

    pub(crate) fn row(&self, index: usize) -> &[f32] {
        &self.values()[index * self.cols()..][..self.cols()]
    }

    pub(crate) fn row_mut(&mut self, index: usize) -> &mut [f32] {
        let cols = self.cols();
        &mut self.values_mut()[index * cols..][..cols]
    }

    pub(crate) fn iter_rows(&self) -> ChunksExact<'_, f32> {
        self.values().chunks_exact(self.cols())
    }

    pub(crate) fn iter_rows_mut(&mut self) -> ChunksExactMut<'_, f32> {
        let cols = self.cols();
        self.values_mut().chunks_exact_mut(cols)
    }

    pub(crate) fn view(&self) -> ArrayView2<'_, f32> {
        self.0.view()
    }

    pub(crate) fn view_mut(&mut self) -> ArrayViewMut2<'_, f32> {
        self.0.view_mut()
    }

    /// The transpose.
    pub(crate) fn t(&self) -> ArrayView2<'_, f32> {
        self.0.t()
    }

    pub(crate) fn block(&self, rows: Range<usize>, cols: Range<usize>) -> ArrayView2<'_, f32> {
        let mut view = self.0.view();
        view.slice_axis_inplace(Axis(0), rows.into());
        view.slice_axis_inplace(Axis(1), cols.into());
        view
    }

    pub(crate) fn block_mut(&mut self, rows: Range<usize>, cols: Range<usize>) -> ArrayViewMut2<'_, f32> {
        let mut view = self.0.view_mut();
        view.slice_axis_inplace(Axis(0), rows.into());
        view.slice_axis_inplace(Axis(1), cols.into());
        view
    }

    pub(crate) fn sum_of_squares(&self) -> f64 {
        self.iter_rows().map(|row| f64::from(dot(row, row))).sum()
    }

    /// Adds `other`, of the same shape.
    pub(crate) fn add(&mut self, other: &Self) {
        add(self.values_mut(), other.values());
    }

    /// Adds the product of two matrices.
    pub(crate) fn add_product(&mut self, left: ArrayView2<'_, f32>, right: ArrayView2<'_, f32>) {
        general_mat_mul(1.0, &left, &right, 1.0, &mut self.0);
    }
}

/// The product of two matrices.
pub(crate) fn product(left: ArrayView2<'_, f32>, right: ArrayView2<'_, f32>) -> Matrix {
    let mut result = Matrix::zeros(left.nrows(), right.ncols());
    product_into(left, right, result.view_mut());
    result
}

/// Overwrites `result` with the product of two matrices.
pub(crate) fn product_into(
    left: ArrayView2<'_, f32>,
    right: ArrayView2<'_, f32>,
    mut result: ArrayViewMut2<'_, f32>,
) {
    general_mat_mul(1.0, &left, &right, 0.0, &mut result);
}

/// Adds `other` to `sum`.
pub(crate) fn add(sum: &mut [f32], other: &[f32]) {
    for (sum, value) in sum.iter_mut().zip(other) {
        *sum += value;
    }
}

/// Adds `scale` times `term` to `sum`.
pub(crate) fn add_scaled(sum: &mut [f32], term: &[f32], scale: f32) {
    for (sum, value) in sum.iter_mut().zip(term) {
        *sum += value * scale;
    }
}

const LANES: usize = 8;

/// The inner product of two equally long slices, summed in lanes so that the compiler can use vectors.
pub(crate) fn dot(left: &[f32], right: &[f32]) -> f32 {
    let mut lanes = [0.0_f32; LANES];
    let (left, left_rest) = left.as_chunks::<LANES>();
    let (right, right_rest) = right.as_chunks::<LANES>();
    for (left, right) in left.iter().zip(right) {
        for lane in 0..LANES {
            lanes[lane] += left[lane] * right[lane];
        }
    }
    let rest: f32 = left_rest.iter().zip(right_rest).map(|(l, r)| l * r).sum();
    sum_lanes(lanes) + rest
}

/// Replaces `row` by `exp(row - max)` and returns the sum and the maximum.
pub(crate) fn exp_shifted(row: &mut [f32]) -> (f32, f32) {
    let max = maximum(row);
    let mut lanes = [0.0_f32; LANES];
    let (chunks, rest) = row.as_chunks_mut::<LANES>();
    for chunk in chunks {
        for lane in 0..LANES {
            chunk[lane] = exp(chunk[lane] - max);
            lanes[lane] += chunk[lane];
        }
    }
    let mut sum = sum_lanes(lanes);
    for value in rest {
        *value = exp(*value - max);
        sum += *value;
    }
    (sum, max)
}

fn maximum(row: &[f32]) -> f32 {
    let larger = |a: f32, b: f32| if a > b { a } else { b };
    let mut lanes = [f32::MIN; LANES];
    let (chunks, rest) = row.as_chunks::<LANES>();
    for chunk in chunks {
        for lane in 0..LANES {
            lanes[lane] = larger(chunk[lane], lanes[lane]);
        }
    }
    let all = lanes.into_iter().chain(rest.iter().copied());
    all.fold(f32::MIN, larger)
}

fn sum_lanes([a, b, c, d, e, f, g, h]: [f32; LANES]) -> f32 {
    ((a + e) + (c + g)) + ((b + f) + (d + h))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matrix(rows: usize, cols: usize) -> Matrix {
        let mut matrix = Matrix::zeros(rows, cols);
        for (index, value) in matrix.values_mut().iter_mut().enumerate() {
            *value = index as f32 + 1.0;
        }
        matrix
    }

    #[test]
    fn products_of_views_are_those_of_copies() {
        let a = matrix(2, 3);
        assert_eq!(product(a.view(), a.t()).values(), [14., 32., 32., 77.]);
        let mut sum = product(a.t(), a.view());
        sum.add_product(a.t(), a.view());
        assert_eq!(sum.row(2), [54., 72., 90.]);
        let mut part = Matrix::zeros(3, 3);
        product_into(a.block(1..2, 0..2), a.block(0..2, 1..3), part.block_mut(1..2, 1..3));
        assert_eq!(part.values(), [0., 0., 0., 0., 33., 42., 0., 0., 0.]);
    }

    #[test]
    fn sums_cover_the_rest_of_a_row() {
        let row: Vec<f32> = (0_u8..11).map(f32::from).collect();
        assert_eq!(dot(&row, &row), 385.0);
        let mut shifted = row.clone();
        let (sum, max) = exp_shifted(&mut shifted);
        assert_eq!(max, 10.0);
        let exact: f64 = row.iter().map(|&x| f64::from(x - 10.0).exp()).sum();
        assert!((f64::from(sum) - exact).abs() < 1e-6);
    }
}
