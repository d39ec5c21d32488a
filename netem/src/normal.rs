//! The standard normal distribution, the same to the last bit on every machine.

/// The probability of a value below `z`.
pub fn probability(z: f64) -> f64 {
    0.5 * libm::erfc(-z * core::f64::consts::FRAC_1_SQRT_2)
}

/// The value below which a standard normal variable is with this probability, 0 to 1.
///
/// Right to about 16 digits: a quotient of two polynomials in the middle, and two others in the
/// tails.
///
/// Source: M. J. Wichura, "Algorithm AS 241: The Percentage Points of the Normal Distribution",
/// Applied Statistics 37 (1988), PPND16.
pub fn quantile(probability: f64) -> f64 {
    if probability <= 0.0 {
        return f64::NEG_INFINITY;
    }
    if probability >= 1.0 {
        return f64::INFINITY;
    }
    let centred = probability - 0.5;
    if centred.abs() <= 0.425 {
        let r = 0.180_625 - centred * centred;
        return centred * quotient(r, &MIDDLE);
    }
    let r = libm::sqrt(-libm::log(probability.min(1.0 - probability)));
    let distance = if r <= 5.0 {
        quotient(r - 1.6, &TAIL)
    } else {
        quotient(r - 5.0, &FAR_TAIL)
    };
    if centred < 0.0 { -distance } else { distance }
}

/// The coefficients of two polynomials, from the constant term on.
type Polynomials = [[f64; 8]; 2];

fn quotient(x: f64, [numerator, denominator]: &Polynomials) -> f64 {
    let value = |coefficients: &[f64; 8]| coefficients.iter().rev().fold(0.0, |sum, c| sum * x + c);
    value(numerator) / value(denominator)
}

const MIDDLE: Polynomials = [
    [
        3.387_132_872_796_366_5,
        1.331_416_678_917_843_8e2,
        1.971_590_950_306_551_3e3,
        1.373_169_376_550_946e4,
        4.592_195_393_154_987e4,
        6.726_577_092_700_87e4,
        3.343_057_558_358_813e4,
        2.509_080_928_730_122_7e3,
    ],
    [
        1.0,
        4.231_333_070_160_091e1,
        6.871_870_074_920_579e2,
        5.394_196_021_424_751e3,
        2.121_379_430_158_659_7e4,
        3.930_789_580_009_271e4,
        2.872_908_573_572_194_3e4,
        5.226_495_278_852_854e3,
    ],
];

const TAIL: Polynomials = [
    [
        1.423_437_110_749_683_5,
        4.630_337_846_156_546,
        5.769_497_221_460_691,
        3.647_848_324_763_204_5,
        1.270_458_252_452_368_4,
        2.417_807_251_774_506e-1,
        2.272_384_498_926_918_4e-2,
        7.745_450_142_783_414e-4,
    ],
    [
        1.0,
        2.053_191_626_637_759,
        1.676_384_830_183_803_8,
        6.897_673_349_851e-1,
        1.481_039_764_274_800_8e-1,
        1.519_866_656_361_645_7e-2,
        5.475_938_084_995_345e-4,
        1.050_750_071_644_416_8e-9,
    ],
];

const FAR_TAIL: Polynomials = [
    [
        6.657_904_643_501_103,
        5.463_784_911_164_114,
        1.784_826_539_917_291_3,
        2.965_605_718_285_048_7e-1,
        2.653_218_952_657_612_4e-2,
        1.242_660_947_388_078_4e-3,
        2.711_555_568_743_487_6e-5,
        2.010_334_399_292_288_1e-7,
    ],
    [
        1.0,
        5.998_322_065_558_88e-1,
        1.369_298_809_227_358e-1,
        1.487_536_129_085_061_5e-2,
        7.868_691_311_456_133e-4,
        1.846_318_317_510_054_8e-5,
        1.421_511_758_316_446e-7,
        2.044_263_103_389_939_8e-15,
    ],
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_those_of_published_tables() {
        // NIST/SEMATECH e-Handbook of Statistical Methods, 1.3.6.7.1, and to more digits.
        for (probability, z) in [
            (0.5, 0.0),
            (0.841_344_746_068_542_9, 1.0),
            (0.975, 1.959_963_984_540_054),
            (0.999, 3.090_232_306_167_813),
            (1e-9, -5.997_807_015_007_773),
            // Beyond r = 5, the third pair of polynomials.
            (1e-20, -9.262_340_089_798_408),
        ] {
            let got = quantile(probability);
            assert!((got - z).abs() < 1e-12, "{probability}: {got}, not {z}");
        }
    }

    #[test]
    fn quantile_is_the_inverse_of_probability_from_one_tail_to_the_other() {
        for step in -80..=80 {
            let z = f64::from(step) / 10.0;
            // Above, the probability is too close to 1 to have the digits.
            if z <= 5.0 {
                let back = quantile(probability(z));
                assert!((back - z).abs() < 1e-9, "{z}: {back}");
            }
        }
        assert_eq!(quantile(0.0), f64::NEG_INFINITY);
        assert_eq!(quantile(1.0), f64::INFINITY);
    }
}
