//! The trainer's library against plain-loop references written from the formulas, and as a program
//! uses it.

mod adam;
mod config;
mod cpu_engine;
mod denoising;
mod edges;
mod evaluate;
mod family;
mod fista;
mod frozen;
mod gradients;
mod per_pixel;
mod pinned;
mod quantized;
mod reading;
mod reference;
mod step_rule;
mod stopping;
mod sweep;
mod training;
mod variational;
mod variational_commands;
mod variational_conv;
mod variational_export;
mod variational_metrics;
mod version1;
