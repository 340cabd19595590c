import '../harness.ts'
