import postgres from 'postgres'
import * as assert from 'uvu/assert'
import { codeOf } from '../../core/errors.ts'
import { migrateUp, requireSchema } from '../../core/postgres/migrate.ts'
import { test } from '../harness.ts'
import { freshDatabase } from '../services.ts'

// What another encoding lacks a character for would be refused with the commit, message after message.

for (const encoding of ['LATIN1', 'SQL_ASCII']) {
  test(`a database of ${encoding} is refused before anything is in it`, async () => {
    const database = await freshDatabase()
    const sql = postgres(database.url, { max: 1, onnotice() {} })
    const name = `encoded_${process.pid}_${encoding.toLowerCase()}`
    const url = new URL(database.url)
    url.pathname = `/${name}`
    try {
      await sql`create database ${sql(name)} encoding ${sql.unsafe(`'${encoding}'`)} locale 'C' template template0`
      const own = postgres(url.href, { max: 1, onnotice() {} })
      assert.is(await migrateUp(url.href).catch(codeOf), 'TENANTRY_DATABASE_ENCODING')
      assert.is(await requireSchema(own).catch(codeOf), 'TENANTRY_DATABASE_ENCODING')
      await own.end()
    } finally {
      await sql`drop database if exists ${sql(name)} with (force)`
      await sql.end()
      await database.drop()
    }
  })
}
