//! The functions for C (feature `capi`): the results of the Rust API, and an answer to what is
//! wrong.
#![cfg(all(feature = "capi", feature = "std"))]
#![allow(unsafe_code, reason = "the functions are called as C calls them")]

/// Calls a function as C does.
macro_rules! call {
    ($function:ident($($argument:expr),* $(,)?)) => {{
        // SAFETY: pointers are null, misaligned, or of live memory as long as the length beside
        // them; the tests write nothing else.
        unsafe { capi::$function($($argument),*) }
    }};
}

/// Calls it and asks for success.
macro_rules! done {
    ($function:ident($($argument:expr),* $(,)?)) => {
        assert_eq!(call!($function($($argument),*)), Status::Ok)
    };
}

mod api;
mod arguments;
#[path = "../common/mod.rs"]
mod common;
mod float;
mod integer;
mod overlap;
mod settings;
mod signed;
mod stream;
mod variational;

use std::collections::HashSet;
use std::ffi::CStr;

use sparsecode_formats::AlignedBytes;
use sparsecode_runtime::capi::{self, *};

use api::{Program, leaked};
use float::{Float, LINEAR, float_file};
use integer::integer_file;

use sparsecode_status as Status;

#[test]
fn files_that_are_none_are_refused_and_leave_no_model() {
    let good = float_file(LINEAR);
    let integers = integer_file(LINEAR);
    let mut longer = good.to_vec();
    longer.extend([0; 12]);
    let longer = AlignedBytes::from_slice(&longer);
    let mut version = good.to_vec();
    let place = version
        .windows(13)
        .position(|text| text == b"\"version\":\"1\"")
        .unwrap();
    version[place + 11] = b'9';
    let version = AlignedBytes::from_slice(&version);
    let mut shape = good.to_vec();
    let place = shape
        .windows(15)
        .position(|text| text == b"\"code_dim\":\"13\"")
        .unwrap();
    shape[place + 13] = b'4';
    let shape = AlignedBytes::from_slice(&shape);
    let cases: [(&[u8], Status); 7] = [
        (&good[..100], Status::NotAModel),
        (&good[..0], Status::NotAModel),
        (&good[..good.len() - 1], Status::InvalidModel),
        (&longer, Status::TrailingData),
        (integers, Status::OtherArithmetic),
        (&version, Status::Version),
        (&shape, Status::InvalidModel),
    ];
    for (bytes, expected) in cases {
        let mut model = Program::<Float>::new(good).model;
        let (start, length) = (bytes.as_ptr().cast(), bytes.len());
        let status = call!(sparsecode_model_load(&raw mut model, start, length));
        assert_eq!(status, expected, "{length} bytes");
        let status = call!(sparsecode_model_verify_checksum(&raw const model));
        assert_eq!(status, Status::NotLoaded);
    }
    let mut model = sparsecode_model::default();
    let start = longer.as_ptr().cast();
    done!(sparsecode_model_load_slot(
        &raw mut model,
        start,
        longer.len()
    ));
    done!(sparsecode_model_verify_checksum(&raw const model));
    let mut integer = sparsecode_integer_model::default();
    let status = call!(sparsecode_integer_model_load(
        &raw mut integer,
        good.as_ptr().cast(),
        good.len()
    ));
    assert_eq!(status, Status::OtherArithmetic);

    // A file that does not start where it has to.
    let mut shifted = vec![0; good.len() + 8];
    let offset = 1 + shifted.as_ptr().align_offset(4);
    shifted[offset..offset + good.len()].copy_from_slice(good);
    let status = call!(sparsecode_model_load(
        &raw mut model,
        shifted[offset..].as_ptr().cast(),
        good.len()
    ));
    assert_eq!(status, Status::Misaligned);
}

#[test]
fn changed_weights_are_noticed() {
    for integers in [false, true] {
        let mut bytes = if integers {
            integer_file(LINEAR).to_vec()
        } else {
            float_file(LINEAR).to_vec()
        };
        // The last weight, within its range.
        let last = bytes.len() - 1;
        bytes[last] = if bytes[last] == 1 { 2 } else { 1 };
        let bytes = leaked(AlignedBytes::from_slice(&bytes));
        let (start, length) = (bytes.as_ptr().cast(), bytes.len());
        let status = if integers {
            let mut model = sparsecode_integer_model::default();
            done!(sparsecode_integer_model_load(&raw mut model, start, length));
            call!(sparsecode_integer_model_verify_checksum(&raw const model))
        } else {
            let mut model = sparsecode_model::default();
            done!(sparsecode_model_load(&raw mut model, start, length));
            call!(sparsecode_model_verify_checksum(&raw const model))
        };
        assert_eq!(status, Status::Checksum);
    }
}

#[test]
fn every_status_has_a_text_of_its_own() {
    let text = |status: i32| {
        let text = sparsecode_status_message(status);
        // SAFETY: a text that ends, as the documentation says.
        unsafe { CStr::from_ptr(text) }.to_str().unwrap()
    };
    let texts: HashSet<&str> = (0..=18).map(text).collect();
    assert_eq!(texts.len(), 19);
    assert_eq!(text(Status::Ok as i32), "done");
    for unknown in [-1, 19, i32::MAX, i32::MIN] {
        assert!(text(unknown).starts_with("no status"), "{unknown}");
        assert!(!texts.contains(text(unknown)));
    }
}
