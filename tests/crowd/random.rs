//! Pseudo-random numbers that can be repeated (xorshift64).

pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        let mut random = Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
        random.below(2);
        random
    }

    /// The seed of this run, told so that it can be repeated with `SEED=`.
    pub fn seed() -> u64 {
        let since = std::time::SystemTime::now().duration_since(std::time::SystemTime::UNIX_EPOCH).unwrap();
        let told = std::env::var("SEED").map(|seed| seed.parse().unwrap());
        let seed = told.unwrap_or_else(|_| u64::from(since.subsec_nanos()) + 1);
        println!("SEED={seed}");
        seed
    }

    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }

    pub fn percent(&mut self, chance: u64) -> bool {
        self.below(100) < chance
    }
}
