import * as assert from 'uvu/assert'
import { fitOf, inWords, type Point } from '../../bench/fit.ts'
import { test } from '../harness.ts'

const sizes = [1, 10, 100, 1_000, 1_000_000]
const grown = (cost: (size: number) => number): readonly Point[] => sizes.map((size) => [size, cost(size)] as const)
const close = (value: number | undefined, wanted: number) =>
  assert.ok(value !== undefined && Math.abs(value - wanted) < 1e-9, `${value} is not ${wanted}`)

test('a fit finds the exponent and the factor that costs were made with', () => {
  for (const [factor, exponent] of [
    [3, 0],
    [0.5, 1],
    [20, 0.5],
    [7, 2],
    [4, -1],
  ] as const) {
    const fit = fitOf(grown((size) => factor * size ** exponent))
    close(fit?.exponent, exponent)
    close(fit?.factor, factor)
    close(fit?.furthest, 1)
  }
})

test('growth is said in words', () => {
  const words = (exponent: number) => inWords(fitOf(grown((size) => 2 * size ** exponent))).split(' (')[0]
  assert.is(words(0.02), 'flat')
  assert.is(words(-0.05), 'flat')
  assert.is(words(-0.5), 'falls')
  assert.is(words(0.25), 'grows slowly')
  assert.is(words(0.5), 'grows like the square root')
  assert.is(words(1), 'linear')
  assert.is(words(1.5), 'grows faster than linear')
  assert.is(words(2), 'quadratic')
  assert.is(words(3), 'grows faster than quadratic')
  assert.is(inWords(fitOf(grown((size) => size))), 'linear (×10.0 for ten times as much)')
})

test('what lies on no line is not called by an exponent', () => {
  const points: readonly Point[] = [
    [1, 1],
    [10, 100],
    [100, 1],
    [1_000, 100],
  ]
  assert.match(inWords(fitOf(points)), /^on no line/)
})

test('sizes without a logarithm are left out, and two sizes say nothing, however often each is there', () => {
  close(fitOf([[0, 5], ...grown((size) => size)])?.exponent, 1)
  assert.is(
    fitOf([
      [1, 5],
      [10, 50],
      [10, 51],
    ]),
    undefined,
  )
  assert.is(
    fitOf([
      [0, 5],
      [10, 3],
      [10, 4],
    ]),
    undefined,
  )
  assert.is(inWords(fitOf([])), 'too few points')
})
