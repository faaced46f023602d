//! Which sums of which shards give which others. `FORMAT.md` has the matrix.

use super::field::{inverse, mul, power};

type Matrix = Vec<Vec<u8>>;

/// How shard `wanted` is the sum of shards `have`, of which there are k: one coefficient for each.
///
/// `have` are different numbers below 255.
pub(super) fn coefficients(have: &[u8], wanted: u8) -> Vec<u8> {
    // Row r of the code's matrix is row r of the Vandermonde matrix times what is inverse to its first k rows. Going from one
    // set of rows to another, that factor cancels out.
    let rows = have.iter().map(|row| vandermonde_row(*row, have.len())).collect();
    let inverse = inverted(rows);
    let wanted = vandermonde_row(wanted, have.len());
    (0..have.len()).map(|column| dot(&wanted, inverse.iter().map(|row| row[column]))).collect()
}

fn vandermonde_row(row: u8, k: usize) -> Vec<u8> {
    (0..k).map(|column| power(row, column)).collect()
}

fn dot(a: &[u8], b: impl Iterator<Item = u8>) -> u8 {
    a.iter().zip(b).fold(0, |sum, (a, b)| sum ^ mul(*a, b))
}

/// The inverse of a square matrix that has one, by elimination.
fn inverted(mut matrix: Matrix) -> Matrix {
    let size = matrix.len();
    let mut result: Matrix = (0..size).map(|row| (0..size).map(|column| u8::from(row == column)).collect()).collect();
    for at in 0..size {
        // Rows of a Vandermonde matrix with different bases are independent, so there is a pivot.
        if let Some(pivot) = (at..size).find(|row| matrix[*row][at] != 0) {
            matrix.swap(at, pivot);
            result.swap(at, pivot);
        }
        let scale = inverse(matrix[at][at]);
        for rows in [&mut matrix, &mut result] {
            rows[at].iter_mut().for_each(|value| *value = mul(*value, scale));
        }
        for row in (0..size).filter(|row| *row != at) {
            let factor = matrix[row][at];
            for rows in [&mut matrix, &mut result] {
                let source = rows[at].clone();
                rows[row].iter_mut().zip(source).for_each(|(value, source)| *value ^= mul(factor, source));
            }
        }
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parity_row(k: u8, row: u8) -> Vec<u8> {
        let data: Vec<_> = (0..k).collect();
        coefficients(&data, k + row)
    }

    #[test]
    fn parity_rows_are_those_of_other_encoders() {
        // Computed with reed-solomon-erasure 6.0.0.
        assert_eq!(parity_row(1, 15), [1]);
        assert_eq!(parity_row(2, 0), [0x03, 0x02]);
        assert_eq!(parity_row(4, 0), [0x1b, 0x1c, 0x12, 0x14]);
        assert_eq!(parity_row(4, 1), [0x1c, 0x1b, 0x14, 0x12]);
        assert_eq!(parity_row(4, 15), [0x23, 0x5b, 0xc3, 0xba]);
        assert_eq!(parity_row(8, 3), [0x33, 0xba, 0x84, 0x1a, 0x27, 0xc6, 0x10, 0xe7]);
    }

    #[test]
    fn a_data_shard_is_itself() {
        let data: Vec<_> = (0..8).collect();
        for wanted in 0..8 {
            let row = coefficients(&data, wanted);
            assert!(row.iter().enumerate().all(|(at, value)| *value == u8::from(at == wanted as usize)));
        }
    }

    #[test]
    fn any_rows_give_any_row() {
        // From parity alone back to data, and from there forward again.
        for wanted in 0..24 {
            let have = [23, 9, 16, 11, 20, 8, 13, 22];
            let via_parity = coefficients(&have, wanted);
            let rows = have.map(|row| coefficients(&[0, 1, 2, 3, 4, 5, 6, 7], row));
            let data: Vec<_> = (0..8).map(|at| dot(&via_parity, rows.iter().map(|row| row[at]))).collect();
            assert_eq!(data, coefficients(&[0, 1, 2, 3, 4, 5, 6, 7], wanted));
        }
    }
}
