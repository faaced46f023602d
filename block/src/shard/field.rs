//! GF(2⁸) with the polynomial 0x11d. Sum and difference are `xor`.

/// The polynomial without its highest term.
const REDUCTION: u8 = 0x1d;

/// Twice `a`. Without a branch, so that many at once take one instruction each.
pub(super) const fn double(a: u8) -> u8 {
    // All bits of the highest one.
    let carry = ((a as i8) >> 7) as u8;
    (a << 1) ^ (carry & REDUCTION)
}

pub(super) const fn mul(a: u8, b: u8) -> u8 {
    let mut product = 0;
    let mut bit = 8;
    while bit > 0 {
        bit -= 1;
        product = double(product);
        if b & (1 << bit) != 0 {
            product ^= a;
        }
    }
    product
}

/// `a` to the power of `n`; 0 to the power of 0 is 1.
pub(super) fn power(a: u8, n: usize) -> u8 {
    (0..n).fold(1, |product, _| mul(product, a))
}

/// The element whose product with `a` is 1. Zero has none, and gives zero.
pub(super) fn inverse(a: u8) -> u8 {
    // The order of every other element divides 255.
    power(a, 254)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_generates_every_element_but_zero() {
        let mut seen = [false; 256];
        let mut element = 1;
        for n in 0..255 {
            assert!(!seen[element as usize]);
            assert_eq!(power(2, n), element);
            seen[element as usize] = true;
            element = double(element);
        }
        assert!(element == 1 && !seen[0]);
    }

    #[test]
    fn products_commute_distribute_and_have_inverses() {
        for a in 0..=255 {
            for b in 0..=255 {
                assert_eq!(mul(a, b), mul(b, a));
                assert_eq!(mul(a ^ b, 0x53), mul(a, 0x53) ^ mul(b, 0x53));
            }
            assert_eq!(mul(a, 1), a);
            assert_eq!(mul(a, inverse(a)), u8::from(a != 0));
        }
        assert_eq!((power(0, 0), power(0, 1)), (1, 0));
    }
}
