import assert from "node:assert/strict";
import { test } from "node:test";

import { advance, createClock, place, seek, toggle, zoom } from "#clock";

import { random } from "./synthetic.js";

test("a live clock follows the end until one looks back", () => {
  const clock = createClock(true);
  advance(clock, 100, 5000);
  assert.equal(clock.ms, 5000);
  assert.deepEqual([clock.from, clock.to], [0, 120_000], "the window does not grow with the film");
  advance(clock, 100, 200_000);
  assert.deepEqual([clock.ms, clock.from, clock.to], [200_000, 80_000, 200_000]);
  seek(clock, 100_000);
  advance(clock, 100, 201_000);
  assert.deepEqual([clock.ms, clock.follow], [100_000, false]);
  clock.follow = true;
  place(clock);
  advance(clock, 100, 202_000);
  assert.equal(clock.ms, 202_000);
});

test("playing stops at the end, and begins anew from there", () => {
  const clock = createClock(false);
  advance(clock, 0, 10_000);
  clock.speed = 30;
  toggle(clock);
  advance(clock, 100, 10_000);
  assert.equal(clock.ms, 3000);
  advance(clock, 1000, 10_000);
  assert.deepEqual([clock.ms, clock.playing], [10_000, false]);
  toggle(clock);
  assert.deepEqual([clock.ms, clock.playing], [0, true]);
});

test("whatever one does, the window shows the play head", () => {
  const next = random(3);
  const clock = createClock(false);
  let end = 1000;
  for (let n = 0; n < 3000; n += 1) {
    const what = Math.floor(next() * 5);
    if (what === 0) seek(clock, (next() * 1.2 - 0.1) * end);
    if (what === 1) zoom(clock, next() < 0.5 ? 1 : -1);
    if (what === 2) toggle(clock);
    if (what === 3) end += Math.floor(next() * 20_000);
    if (what === 4) clock.follow = next() < 0.3;
    advance(clock, next() * 3000, end);
    assert.ok(clock.from <= clock.ms && clock.ms <= clock.to && clock.from >= 0 && clock.from < clock.to, `step ${n}`);
    assert.ok(clock.ms >= 0 && clock.ms <= end);
  }
});
