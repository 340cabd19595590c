// runtimes: node
// timeout: 1200 s
import { createSource } from '../../core/kafka/drivers.ts'
import { sourceContract } from './source.ts'

sourceContract('confluent', (options) => createSource({ ...options, driver: 'confluent' }))
