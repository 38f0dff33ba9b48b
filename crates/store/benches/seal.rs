//! The cost of sealing one phone number, which an import pays once and each SMS pays once. `cargo bench -p klaroen-store`.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use klaroen_domain::phone::PhoneNumber;
use klaroen_store::seal::Keys;

fn seal(c: &mut Criterion) {
    let keys = Keys::new(&[1; 32], &[2; 32]);
    let phone = PhoneNumber::from_sealed("+31612345678".into());
    let row = [7; 16];
    let sealed = keys.seal_phone(&phone, &row);
    c.bench_function("seal_phone", |b| b.iter(|| keys.seal_phone(black_box(&phone), &row)));
    c.bench_function("open_phone", |b| b.iter(|| keys.open_phone(black_box(&sealed), &row)));
    c.bench_function("recipient", |b| b.iter(|| keys.recipient(black_box(&phone))));
    let row_of_a_file = [b'x'; 200];
    c.bench_function("fingerprint_200_bytes", |b| b.iter(|| keys.fingerprint(black_box(&row_of_a_file))));
}

criterion_group!(benches, seal);
criterion_main!(benches);
