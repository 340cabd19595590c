// runtimes: node, bun
// timeout: 1200 s
import { createSource } from '../../core/kafka/drivers.ts'
import { sourceContract } from './source.ts'

sourceContract('platformatic', (options) => createSource({ ...options, driver: 'platformatic' }))
