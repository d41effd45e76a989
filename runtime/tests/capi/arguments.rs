//! One wrong argument at a time, of every function that takes it.

use std::ptr::{null, null_mut};

use sparsecode_runtime::capi::*;

use crate::api::{Api, Arguments, Program};
use crate::float::Float;
use crate::integer::Integer;

use sparsecode_status as Status;

#[test]
fn wrong_arguments_are_answered() {
    answers_wrong_arguments::<Float>();
}

#[test]
fn wrong_arguments_in_integers_are_answered() {
    answers_wrong_arguments::<Integer>();
}

/// Nothing is written.
fn answers_wrong_arguments<A: Api>() {
    let mut c = Program::<A>::new(A::file());
    c.clear();
    let mut patch = A::samples(24);
    let before = patch.clone();
    let settings = A::settings(&c.model);
    let good = c.arguments(&mut patch, &settings);
    let (places, capacity, _) = A::parts(&c.code);
    let header = |places: &[_], capacity| A::code(places, capacity, 0);

    // Of the functions that take a code, the last without settings.
    let all = |arguments: &Arguments<A>| {
        let plain = Arguments {
            settings: null(),
            ..*arguments
        };
        [
            arguments.encode(),
            arguments.refine(),
            arguments.decode(),
            plain.denoise(),
        ]
    };
    let run = |change: &dyn Fn(&mut Arguments<A>), mut code: A::Code, expected: Status| {
        let mut arguments = Arguments {
            code: &raw mut code,
            ..good
        };
        change(&mut arguments);
        assert_eq!(all(&arguments), [expected; 4]);
        assert_eq!(A::parts(&code).2, 0);
    };
    let given = |change: &dyn Fn(&mut Arguments<A>), expected: Status| {
        run(change, header(&places, capacity), expected);
    };
    let with_array = |number: usize, place, expected: Status| {
        let mut places = places.clone();
        places[number] = place;
        run(&|_| {}, header(&places, capacity), expected);
    };

    let (model, start, workspace) = (good.model, good.patch, good.workspace);
    let empty = A::Model::default();
    given(&|a| a.model = null(), Status::NullPointer);
    given(&|a| a.model = &raw const empty, Status::NotLoaded);
    for bytes in [1, 4] {
        let odd = model.wrapping_byte_add(bytes);
        given(&|a| a.model = odd, Status::Misaligned);
    }
    given(&|a| a.patch = null_mut(), Status::NullPointer);
    let half = size_of::<A::Number>() / 2;
    let odd = start.wrapping_byte_add(half);
    given(&|a| a.patch = odd, Status::Misaligned);
    for length in [0, 20, 22, usize::MAX, usize::MAX / 4, 1 << 62] {
        given(&|a| a.length = length, Status::Length);
    }
    for (number, (_, size)) in A::ARRAYS.iter().enumerate() {
        with_array(number, null_mut(), Status::NullPointer);
        let odd = places[number].wrapping_byte_add(size / 2);
        with_array(number, odd, Status::Misaligned);
    }
    run(&|_| {}, header(&places, capacity - 1), Status::TooSmall);
    given(&|a| a.workspace = null_mut(), Status::NullPointer);
    for bytes in [1, 2] {
        let odd = workspace.wrapping_byte_add(bytes);
        given(&|a| a.workspace = odd, Status::Misaligned);
    }
    for bytes in [0, good.bytes - 1] {
        given(&|a| a.bytes = bytes, Status::TooSmall);
    }
    // Overlaps: of the patch with the workspace, of the arrays with either, and of anything with
    // the model.
    let last = start.wrapping_add(20).cast();
    given(&|a| a.workspace = last, Status::Overlap);
    given(&|a| a.patch = workspace.cast(), Status::Overlap);
    for (number, (_, size)) in A::ARRAYS.iter().enumerate() {
        let end = workspace.wrapping_byte_add(good.bytes - size);
        for place in [workspace, end, start.cast()] {
            let place = place.wrapping_byte_sub(place.addr() % size);
            with_array(number, place, Status::Overlap);
        }
    }
    let over = model.cast_mut().cast();
    given(&|a| a.workspace = over, Status::Overlap);

    // Encoding, refining and denoising write the arrays; decoding only reads them.
    for first in 0..places.len() {
        for second in first + 1..places.len() {
            let mut places = places.clone();
            places[first] = places[second];
            let mut code = header(&places, capacity);
            let arguments = Arguments {
                code: &raw mut code,
                ..good
            };
            let written = [arguments.encode(), arguments.refine(), arguments.denoise()];
            assert_eq!(written, [Status::Overlap; 3]);
        }
    }
    let without_code = Arguments {
        code: null_mut(),
        ..good
    };
    assert_eq!(all(&without_code), [Status::NullPointer; 4]);
    let without_settings = Arguments {
        settings: null(),
        ..good
    };
    assert_eq!(without_settings.refine(), Status::NullPointer);
    let odd = Arguments {
        refinement: null_mut::<A::Refinement>().wrapping_byte_add(3),
        ..good
    };
    assert_eq!([odd.refine(), odd.denoise()], [Status::Misaligned; 2]);
    assert_eq!(patch, before);
    c.check();
    assert!(c.is_untouched());
}
