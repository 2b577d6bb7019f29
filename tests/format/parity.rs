//! Recovery shards are what the formula in the spec says, reckoned here without the code's library.

use packfs::format::{ENVELOPE_LEN, Protected, TAIL_LEN, hex};
use packfs::parity;
use packfs::storage::{MemoryStorage, Storage};

use super::spec;
use crate::support::hostile::noise;

/// The polynomials that the spec lists.
fn basis() -> Vec<u32> {
    let text = spec::SPEC.split("written in the same way: ").nth(1).unwrap();
    let list = text.split('.').next().unwrap().split(',').map(str::trim);
    list.map(|number| u32::from_str_radix(number.trim_start_matches("0x"), 16).unwrap()).collect()
}

struct Field {
    log: Vec<usize>,
    exp: Vec<u32>,
}

impl Field {
    fn new() -> Self {
        let basis = basis();
        assert_eq!(basis.len(), 16);
        let polynomial = |number: u32| {
            (0..16).filter(|bit| number >> bit & 1 == 1).fold(0, |sum, bit| sum ^ basis[bit])
        };
        let mut power_of = vec![0; 1 << 16];
        let mut power = 1u32;
        for exponent in 0..65_535 {
            power_of[power as usize] = exponent;
            power <<= 1;
            if power >> 16 == 1 {
                power ^= 0x1002D;
            }
        }
        let (mut log, mut exp) = (vec![0; 1 << 16], vec![0; 65_535]);
        for number in 1..1u32 << 16 {
            let exponent = power_of[polynomial(number) as usize];
            log[number as usize] = exponent;
            exp[exponent] = number;
        }
        Self { log, exp }
    }

    fn mul(&self, a: u32, b: u32) -> u32 {
        if a == 0 || b == 0 {
            return 0;
        }
        self.exp[(self.log[a as usize] + self.log[b as usize]) % 65_535]
    }

    fn div(&self, a: u32, b: u32) -> u32 {
        assert_ne!(b, 0);
        if a == 0 {
            return 0;
        }
        self.exp[(self.log[a as usize] + 65_535 - self.log[b as usize]) % 65_535]
    }
}

fn element(shard: &[u8], at: usize) -> u32 {
    let (block, place) = (at / 32 * 64, at % 32);
    u32::from(shard[block + place]) | u32::from(shard[block + 32 + place]) << 8
}

#[test]
fn recovery_shards_are_those_of_the_formula() {
    let field = Field::new();
    // More data than recovery, as many, and less; powers of two, and others.
    for (objects, percent) in [(1usize, 5), (3, 100), (40, 12), (9, 70)] {
        let storage = MemoryStorage::default();
        let (mut members, mut data) = (Vec::new(), Vec::new());
        for number in 0..objects {
            let bytes = noise(1 + number * 1711, number as u64);
            let key = format!("trees/{}", hex(blake3::hash(&bytes).as_bytes()));
            storage.put(&key, &bytes).unwrap();
            members.push(Protected { key, length: bytes.len() as u64 });
            for shard in bytes.chunks(4096) {
                data.push([shard, &vec![0; 4096 - shard.len()]].concat());
            }
        }
        let (_, set) = parity::protect(&storage, members, percent).unwrap();
        let number = |at: usize| u32::from_le_bytes(set[at..at + 4].try_into().unwrap());
        let at = ENVELOPE_LEN;
        assert_eq!((number(at), number(at + 4)), (percent, 4096));
        let recovery = number(at + 12);
        let table = ENVELOPE_LEN + usize::try_from(number(24)).unwrap();
        assert_eq!(set.len(), 2 * table + recovery as usize * 4096 + TAIL_LEN);
        assert_eq!(set[..table], set[set.len() - TAIL_LEN - table..][..table]);
        let c = recovery.next_power_of_two();
        let product = |numbers: &mut dyn Iterator<Item = u32>| {
            numbers.fold(1, |product, number| field.mul(product, number))
        };
        let v = product(&mut (1..c));
        for j in 0..recovery {
            let shard = &set[table + j as usize * 4096..][..4096];
            for at in [0, 1, 31, 32, 777, 2047] {
                let mut sum = 0;
                for (d, p) in data.iter().zip(c..) {
                    let w = product(&mut (0..c).map(|r| p ^ r));
                    let factor = field.div(w, field.mul(v, j ^ p));
                    sum ^= field.mul(element(d, at), factor);
                }
                assert_eq!(element(shard, at), sum, "{objects} objects, shard {j}, element {at}");
            }
        }
    }
}
