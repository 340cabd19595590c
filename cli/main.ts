#!/usr/bin/env node
import { Command } from 'commander'
import { messageOf } from '../core/errors.ts'
import { devCommand } from './dev.ts'

const program = new Command('tenantry').addCommand(devCommand())

try {
  await program.parseAsync()
} catch (error) {
  process.stderr.write(`${messageOf(error)}\n`)
  process.exitCode = 1
}
